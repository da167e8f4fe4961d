"""`cloud-agent audit`: whether the customer's record is as it was written."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.arguments import Verbs, add_config, add_json, add_verb, load_config
from agent.errors import Exit

if TYPE_CHECKING:
    from agent.guard.audit_verify import VerifyReport

_TEXT = """
Checks the audit log's hash chain: every line holds the hash of the one before, so that lines that
were changed, removed or put in between show. Lines cut off the end do not: compare the head it
prints with one you noted before. The agent may go on running.

Exits 0 when the chain holds, 1 when it does not.

example:
  cloud-agent audit verify /var/lib/cloud-agent/audit.jsonl
  cloud-agent audit verify -c agent.yaml --json | jq -r .head
"""


def add(verbs: Verbs) -> None:
    """Add the verb and its own verb."""
    audit = add_verb(verbs, "audit", None, help="check the audit log", text=_TEXT)
    inner = audit.add_subparsers(title="verbs", metavar="VERB", required=True)
    parser = add_verb(inner, "verify", verify, help="check its hash chain", text=_TEXT)
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: as configured")
    add_config(parser)
    add_json(parser)


def verify(arguments: argparse.Namespace) -> int:
    """Print whether the chain holds, and its head."""
    from agent.guard.audit_verify import verify as verify_chain

    path = arguments.file or _configured(arguments)
    report = verify_chain(path)
    shown = json.dumps(asdict(report), indent=2) if arguments.json else _as_text(path, report)
    sys.stdout.write(shown + "\n")
    return Exit.DONE if report.problem is None else Exit.FAILED


def _configured(arguments: argparse.Namespace) -> Path:
    settings = load_config(arguments).settings
    return settings.audit.file or settings.agent.state_dir / "audit.jsonl"


def _as_text(path: Path, report: "VerifyReport") -> str:
    if report.problem is not None:
        return f"{path}: {report.problem}; the {report.lines} lines before it are as written"
    torn = f", {report.torn} torn by a crash and vouched for" if report.torn else ""
    tail = ", the last one unfinished" if report.torn_tail else ""
    return f"{path}: {report.lines} lines are as they were written{torn}{tail}\nhead {report.head}"
