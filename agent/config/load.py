"""Puts the configuration together from flags, environment, file and defaults, and refuses a wrong
one.

The only place that reads settings from a file or the environment. Files that the configuration
names are not looked at here: `cloud-agent check` does.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from agent.config.document import Document, read
from agent.config.origins import Origins
from agent.config.overlay import lay_environment, lay_flags
from agent.config.problems import Problem, refusal
from agent.config.references import contradictions_in
from agent.config.settings import Settings
from agent.config.violations import violations_of

Check = Callable[[Mapping[str, object]], Iterable[Problem]]
"""Looks for what only another room can judge, in values that need not have the right shape."""

_NO_FLAGS: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that is right in itself, with where each of its values came from."""

    settings: Settings
    origins: Origins
    path: Path | None


def load(
    path: Path | None,
    *,
    environ: Mapping[str, str],
    flags: Mapping[str, object] = _NO_FLAGS,
    checks: Iterable[Check] = (),
) -> Loaded:
    """Return the configuration; a flag wins over the environment, that over the file, that over a
    default.

    Variables are named like ``CLOUD_AGENT__CONTROL_PLANE__URL``: two underscores lead into a part
    or to a position in a list, case does not count, and the value is read as YAML. *flags* are
    dotted keys; a value of None means "not given". Reads one file and nothing else; no network, no
    other file.

    Raises:
        UsageError: Something is wrong; the text lists all of it, each with key, place and what
            would be right, and repeats no value.
    """
    document = read(path) if path else Document("", name="")
    lay_environment(document, environ, sections=list(Settings.model_fields))
    lay_flags(document, flags)
    problems = [
        *document.problems,
        *violations_of(document.tree),
        *contradictions_in(document.tree),
        *(problem for check in checks for problem in check(document.tree)),
    ]
    if problems:
        raise refusal(problems, document.origins)
    return Loaded(Settings.model_validate(document.tree), document.origins, path)
