"""Arguments that several verbs share, and the configuration they lead to."""

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.errors import UsageError

if TYPE_CHECKING:
    from agent.config.load import Loaded

Verb = Callable[[argparse.Namespace], int]
Verbs = Any
"""What argparse's `add_subparsers` returns; it has no public type."""

_FLAGS = {
    "state_dir": "agent.state_dir",
    "log_level": "telemetry.log.level",
    "log_format": "telemetry.log.format",
}


def add_verb(
    verbs: Verbs, name: str, verb: Verb | None, *, help: str, text: str
) -> argparse.ArgumentParser:
    """Add the verb *name*; *text* is what `--help` says above and below the arguments.

    The part of *text* from its ``example:`` on stands below.
    """
    above, example, below = text.partition("example:")
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=help,
        description=above.strip() or help,
        epilog=f"{example}{below}".rstrip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if verb is not None:
        parser.set_defaults(verb=verb)
    return parser


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add ``-c``."""
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        help="configuration in YAML; without it, the environment and the defaults alone count",
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the flags that win over single settings."""
    settings = parser.add_argument_group("settings that win over environment and file")
    settings.add_argument("--state-dir", metavar="DIR", help="agent.state_dir")
    levels = ("debug", "info", "warning", "error")
    settings.add_argument("--log-level", choices=levels, help="telemetry.log.level")
    settings.add_argument("--log-format", choices=("json", "console"), help="telemetry.log.format")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def load_config(arguments: argparse.Namespace) -> "Loaded":
    """Return the configuration that the arguments and the environment lead to; reads anew.

    Raises:
        UsageError: Something is wrong in it.
    """
    from agent.cli.patterns import wrong_patterns
    from agent.config.load import load

    flags = _flags(arguments)
    return load(arguments.config, environ=os.environ, flags=flags, checks=[wrong_patterns])


def load_config_with_control_plane(arguments: argparse.Namespace) -> "Loaded":
    """Return the configuration of a verb that dials; the example address of the default won't do.

    Raises:
        UsageError: Something is wrong in it, or nobody said where the control plane is.
    """
    loaded = load_config(arguments)
    if loaded.origins.of(("control_plane", "url")).source == "default":
        raise UsageError(
            "control_plane.url: is required here; set it in the file given with -c, or in "
            "CLOUD_AGENT__CONTROL_PLANE__URL, as in wss://cloud.example.com/agent/v1/connect"
        )
    return loaded


def _flags(arguments: argparse.Namespace) -> Mapping[str, object]:
    return {key: getattr(arguments, name, None) for name, key in _FLAGS.items()}
