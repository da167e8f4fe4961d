"""`cloud-agent enroll`: makes the key and has the control plane register its public half."""

import argparse
import sys
from pathlib import Path

from agent.cli.arguments import (
    Verbs,
    add_config,
    add_settings,
    add_verb,
    load_config_with_control_plane,
)
from agent.errors import Exit

_TEXT = """
Makes the agent's key in agent.state_dir and registers its public half at the control plane with a
one-time join token. The key never leaves this host. `run` does the same by itself where
control_plane.join_token_file is set.

The token is read from a file, so that it stands in no list of processes and no shell history.

example:
  control-plane-stub join-token create --agent prod-eu > join-token
  cloud-agent enroll -c agent.yaml --join-token-file join-token
"""


def add(verbs: Verbs) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs, "enroll", enroll, help="make the key and register its public half", text=_TEXT
    )
    add_config(parser)
    add_settings(parser)
    parser.add_argument(
        "--join-token-file",
        type=Path,
        metavar="FILE",
        required=True,
        help="holds the one-time join token",
    )


def enroll(arguments: argparse.Namespace) -> int:
    """Enrol and print the instance's name."""
    settings = load_config_with_control_plane(arguments).settings

    from agent import app
    from agent.cli.loop import run_in_loop

    instance = run_in_loop(app.enroll(settings, arguments.join_token_file))
    sys.stdout.write(f"enrolled {settings.agent.name}/{instance}\n")
    return Exit.DONE
