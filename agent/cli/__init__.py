"""The command `cloud-agent`: what every verb shares. One file per verb stands beside this one.

Nothing heavy is imported before the verb that needs it runs, so that `version` and `--help` answer
at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from agent.cli import audit, check, config, enroll, execute, health, policy, run, version
from agent.cli.arguments import Verb
from agent.errors import AgentError, Exit, PolicyDenied, Unreachable, UsageError

_VERBS = (run, check, execute, policy, enroll, audit, config, health, version)

_DESCRIPTION = """\
Runs jobs of a cloud MLOps control plane inside this network: reads artifacts, starts pipelines.
It only dials out, and no credential ever leaves it."""

_EPILOG = """\
exit codes:
  0 done   1 failed   2 wrong usage or configuration   3 refused by the policy
  4 the other side could not be reached   130 interrupted

settings come from flags, then the environment (CLOUD_AGENT__CONTROL_PLANE__URL=wss://...), then
the file given with -c, then defaults; `cloud-agent config show` says which and why.

example:
  cloud-agent check -c agent.yaml && cloud-agent run -c agent.yaml"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; a user's mistake is one text, never a traceback."""
    chosen = _parser().parse_args(arguments)
    verb: Verb = chosen.verb
    try:
        code = verb(chosen)
        sys.stdout.flush()
    except AgentError as exc:
        sys.stderr.write(f"cloud-agent: {exc}\n")
        return _exit_code(exc)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output went away; Python must not complain about that at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    return code


def _exit_code(exc: AgentError) -> Exit:
    match exc:
        case UsageError():
            return Exit.USAGE
        case Unreachable():
            return Exit.UNREACHABLE
        case PolicyDenied():
            return Exit.REFUSED
    return Exit.FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cloud-agent",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for module in _VERBS:
        module.add(verbs)
    return parser
