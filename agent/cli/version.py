"""`cloud-agent version`."""

import argparse
import sys

from agent.cli.arguments import Verbs, add_json, add_verb
from agent.errors import Exit
from agent.version import VERSION

_TEXT = """
Prints the version of this agent, and what it runs on.

example:
  cloud-agent version --json | jq -r .version
"""


def add(verbs: Verbs) -> None:
    """Add the verb."""
    add_json(add_verb(verbs, "version", show, help="print the version", text=_TEXT))


def show(arguments: argparse.Namespace) -> int:
    """Print the version."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    if arguments.json:
        shown = f'{{"version": "{VERSION}", "python": "{python}", "platform": "{sys.platform}"}}'
    else:
        shown = f"cloud-agent {VERSION} (Python {python})"
    sys.stdout.write(shown + "\n")
    return Exit.DONE
