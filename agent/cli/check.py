"""`cloud-agent check`: everything that can be known before the agent is started."""

import argparse
import sys

from agent.cli.arguments import (
    Verbs,
    add_config,
    add_json,
    add_settings,
    add_verb,
    load_config_with_control_plane,
)
from agent.errors import Exit, UsageError

_TEXT = """
Looks at all the agent will need, at once: configuration, files, state directory, disk, identity,
proxy, DNS, TLS and who issued the certificate, clock, each secret store, connector and artifact
store, and the policy. One row each, with what to do where something is wrong; all failures in one
run. It changes nothing, and registers nothing.

Exits 0 when nothing failed, 1 when something did, 2 when the configuration itself is wrong.

example:
  cloud-agent check -c agent.yaml
  cloud-agent check -c agent.yaml --json | jq '.rows[] | select(.status == "FAIL")'
"""


def add(verbs: Verbs) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "check", check, help="look for all that is wrong, once", text=_TEXT)
    add_config(parser)
    add_settings(parser)
    add_json(parser)


def check(arguments: argparse.Namespace) -> int:
    """Print one row for each check."""
    from agent.preflight.rows import Row, Status, as_json, as_table, passed

    shown = as_json if arguments.json else as_table
    try:
        loaded = load_config_with_control_plane(arguments)
    except UsageError as exc:
        advice = "mend these; nothing else was looked at"
        sys.stdout.write(shown([Row(Status.FAIL, "config", str(exc), advice)]))
        return Exit.USAGE

    from agent.cli.loop import run_in_loop
    from agent.preflight import preflight

    rows = run_in_loop(preflight(loaded))
    sys.stdout.write(shown(rows))
    return Exit.DONE if passed(rows) else Exit.FAILED
