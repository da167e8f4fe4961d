"""`cloud-agent run`: the daemon."""

import argparse
from functools import partial

from agent.cli.arguments import (
    Verbs,
    add_config,
    add_settings,
    add_verb,
    load_config_with_control_plane,
)
from agent.errors import Exit

_TEXT = """
Runs the agent until SIGTERM or SIGINT. It dials the control plane, takes the jobs that the policy
allows, and dials again whenever the link is lost; it never gives up by itself.

The first signal lets running jobs end, at most for agent.drain_deadline; the second stops at once.
SIGHUP, or a changed file, re-reads the configuration: a wrong one is logged, and the old one kept.
Logs go to standard error.

example:
  cloud-agent run -c /etc/cloud-agent/agent.yaml
  CLOUD_AGENT__AGENT__NAME=prod-eu cloud-agent run -c agent.yaml --log-format console
"""


def add(verbs: Verbs) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "run", run, help="run the agent until it is stopped", text=_TEXT)
    add_config(parser)
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the daemon; returns when it has been stopped."""
    reload = partial(load_config_with_control_plane, arguments)
    loaded = reload()

    from agent import app
    from agent.cli.loop import run_in_loop

    run_in_loop(app.run(loaded, reload))
    return Exit.DONE
