"""`cloud-agent policy`: what the policy says about a job, before anybody asks."""

import argparse
import json
import sys
from collections.abc import Mapping

from agent.cli.arguments import Verbs, add_config, add_json, add_verb, load_config
from agent.cli.jobfile import add_job, read_job
from agent.errors import Exit

_TEXT = """
Says whether the policy allows a job, which rule decides, why, and which artifact store and
connector would be used. It touches no secret and no network.

Exits 0 when the job is allowed, 3 when it is denied.

example:
  echo '{"kind": "trigger-pipeline", "parameters": {"pipeline": "train-churn"}}' |
    cloud-agent policy explain -c agent.yaml -f -
"""

_SHOWN = {
    "why": "why",
    "connector": "connector",
    "artifact_store": "artifact store",
    "max_bytes": "most bytes",
}


def add(verbs: Verbs) -> None:
    """Add the verb and its own verb."""
    policy = add_verb(verbs, "policy", None, help="ask the policy", text=_TEXT)
    inner = policy.add_subparsers(title="verbs", metavar="VERB", required=True)
    parser = add_verb(inner, "explain", explain, help="say which rule decides a job", text=_TEXT)
    add_config(parser)
    add_job(parser)
    add_json(parser)


def explain(arguments: argparse.Namespace) -> int:
    """Print the decision."""
    job = read_job(arguments.job)
    settings = load_config(arguments).settings

    from agent.cli.loop import run_in_loop
    from agent.one_job import explain as decide

    decision = run_in_loop(decide(settings, job))
    shown = json.dumps(decision, indent=2) if arguments.json else _as_text(decision)
    sys.stdout.write(shown + "\n")
    return Exit.DONE if decision["allowed"] else Exit.REFUSED


def _as_text(decision: Mapping[str, object]) -> str:
    rule = decision.get("rule")
    by = "no rule matches" if rule is None else f"by policy.rules.{rule}"
    lines = [f"{'allowed' if decision['allowed'] else 'denied'} ({by})"]
    for key, name in _SHOWN.items():
        if decision.get(key) is not None:
            lines.append(f"  {name + ':':<16}{decision[key]}")
    return "\n".join(lines)
