"""The command line of ``control-plane-stub``: verbs, options, examples. Does nothing itself."""

import argparse
import os
from pathlib import Path

from agent.protocol.close_reasons import CLOSE_POLICIES
from control_plane_stub.argument_types import address, parameter, seconds, size

DEFAULT_URL = "http://127.0.0.1:8080"
_EXIT_CODES = (
    "exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by policy, "
    "4 control plane not reached, 130 interrupted"
)
_FAULTS = {
    "cut": "break the agent's connection off, without a word",
    "stall": "keep the connection open and stop reading and answering",
    "refuse": "turn the agent away when it connects",
    "delay": "send each frame late",
    "duplicate": "send frames twice",
    "reorder": "swap frames",
    "garbage": "send frames that are none",
}
_GARBAGE = ("malformed", "oversized", "nested", "gap", "binary")


def parser() -> argparse.ArgumentParser:
    """Build the parser; the chosen verb is in ``verb``."""
    top = argparse.ArgumentParser(
        prog="control-plane-stub",
        description="A control plane for trying out, testing and running agents on one's own.",
        epilog=_EXIT_CODES,
    )
    verbs = _Verbs(top, dest="verb")
    _add_serve(verbs)
    _add_join_token(verbs)
    _add_submit(verbs)
    _add_listings(verbs)
    _add_faults(verbs)
    return top


class _Verbs:
    """Adds verbs that all look alike: a sentence, options, an example."""

    def __init__(self, top: argparse.ArgumentParser, *, dest: str) -> None:
        self._verbs = top.add_subparsers(dest=dest, required=True, metavar="VERB")

    def add(self, name: str, says: str, *, example: str, client: bool) -> argparse.ArgumentParser:
        return self._verbs.add_parser(
            name,
            help=says,
            description=f"{says[0].upper()}{says[1:]}.",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[_client_options()] if client else [],
        )


def _client_options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    group = options.add_argument_group("the control plane")
    group.add_argument(
        "--server",
        metavar="URL",
        default=os.environ.get("CONTROL_PLANE_STUB_URL", DEFAULT_URL),
        help="its address (default: $CONTROL_PLANE_STUB_URL or %(default)s)",
    )
    group.add_argument(
        "--api-token-file",
        metavar="F",
        type=Path,
        help="holds the API token (default: $CONTROL_PLANE_STUB_API_TOKEN_FILE, "
        "or api-token in --state-dir)",
    )
    group.add_argument(
        "--state-dir", metavar="DIR", type=Path, help="that of `serve`, on the same machine"
    )
    group.add_argument("--ca-file", metavar="F", type=Path, help="issuer of its certificate, PEM")
    return options


def _add_serve(verbs: _Verbs) -> None:
    serve = verbs.add(
        "serve",
        "serve REST, the agents' WebSocket and the dashboard on one port",
        example="control-plane-stub serve --listen 127.0.0.1:8080 --state-dir ./control-plane",
        client=False,
    )
    serve.add_argument("--listen", metavar="HOST:PORT", type=address, default="127.0.0.1:8080")
    serve.add_argument(
        "--state-dir", metavar="DIR", type=Path, required=True, help="made if missing"
    )
    serve.add_argument(
        "--api-token-file",
        metavar="F",
        type=Path,
        help="the token that opens REST and dashboard (default: api-token in --state-dir, "
        "made at the first start)",
    )
    serve.add_argument("--tls-cert", metavar="F", type=Path, help="certificate chain, PEM")
    serve.add_argument("--tls-key", metavar="F", type=Path, help="its key, PEM")
    serve.add_argument("--client-ca", metavar="F", type=Path, help="issuer of agents' certificates")
    serve.add_argument(
        "--public-host",
        metavar="HOST[:PORT]",
        type=str.lower,
        help="as in the agents' control_plane.url: proofs made out to another name are refused "
        "(default: the Host header is believed, which is for trials only)",
    )
    serve.add_argument(
        "--record-frames", metavar="F", type=Path, help="append every frame of every link to F"
    )
    serve.add_argument(
        "--heartbeat",
        metavar="TIME",
        type=seconds,
        default=15.0,
        help="between two pings of a link: 500ms, 5s (default: 15s)",
    )
    serve.add_argument(
        "--upload-from",
        metavar="SIZE",
        type=size,
        default="1MiB",
        help="agents may upload content of this size and more: 0, 64KiB (default: %(default)s)",
    )
    serve.add_argument(
        "--no-upload",
        dest="upload",
        action="store_false",
        help="offer no uploads: all content comes over the links",
    )


def _add_join_token(verbs: _Verbs) -> None:
    token = verbs.add(
        "join-token",
        "make one-time tokens by which agents enrol",
        example="control-plane-stub join-token create --agent prod-eu",
        client=False,
    )
    create = _Verbs(token, dest="action").add(
        "create",
        "make a token that enrols one instance of an agent, once",
        example="control-plane-stub join-token create --agent prod-eu --ttl 30m -o join-token",
        client=True,
    )
    create.add_argument("--agent", metavar="NAME", required=True)
    create.add_argument("--ttl", type=seconds, default=1800.0, help="30s, 5m, 2h (default: 30m)")
    create.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="write it there, mode 0600, not to stdout"
    )
    create.add_argument("--json", action="store_true")


def _add_submit(verbs: _Verbs) -> None:
    submit = verbs.add(
        "submit",
        "submit a job and see it through to its end",
        example="control-plane-stub submit fetch-artifact --agent prod-eu "
        "-p uri=s3://ml/model.bin -o model.bin\n"
        "  control-plane-stub submit trigger-pipeline --agent prod-eu "
        "-p pipeline=train -p parameters.epochs=3 --follow",
        client=True,
    )
    submit.add_argument("kind", metavar="KIND", help="as fetch-artifact, trigger-pipeline")
    submit.add_argument("--agent", metavar="NAME", required=True)
    submit.add_argument(
        "-p",
        "--param",
        metavar="KEY=VALUE",
        type=parameter,
        action="append",
        default=[],
        help="a parameter, JSON or text; a.b=1 stands for a={b: 1}",
    )
    submit.add_argument("--params", metavar="FILE", type=Path, help="a JSON object of parameters")
    submit.add_argument(
        "--deadline", metavar="TIME", type=seconds, help="the agent ends the job after 30s, 5m, 2h"
    )
    submit.add_argument(
        "--follow",
        action="store_true",
        help="stay with a pipeline until it has ended, not only until it has started",
    )
    submit.add_argument(
        "-o", "--output", metavar="FILE", help="write the content there, - for stdout"
    )
    submit.add_argument(
        "--no-wait", action="store_true", help="print the job's id and leave it to itself"
    )
    submit.add_argument("--json", action="store_true", help="print the job's record at its end")


def _add_listings(verbs: _Verbs) -> None:
    jobs = verbs.add(
        "jobs",
        "list jobs, the newest first",
        example="control-plane-stub jobs --agent prod-eu --state running",
        client=True,
    )
    jobs.add_argument("--agent", metavar="NAME")
    jobs.add_argument("--state", help="as queued, running, succeeded, failed, refused")
    jobs.add_argument("--limit", type=int, help="so many at most")
    jobs.add_argument("--json", action="store_true")
    agents = verbs.add(
        "agents",
        "list agents and their instances",
        example="control-plane-stub agents --json",
        client=True,
    )
    agents.add_argument("--json", action="store_true")
    cancel = verbs.add(
        "cancel", "cancel a job", example="control-plane-stub cancel JOB", client=True
    )
    cancel.add_argument("id", metavar="ID")
    cancel.add_argument("--json", action="store_true")


def _add_faults(verbs: _Verbs) -> None:
    fault = verbs.add(
        "fault",
        "script faults on an agent's link, to see what it makes of them",
        example="control-plane-stub fault cut --agent prod-eu --after-bytes 1000000 --count 20",
        client=False,
    )
    actions = _Verbs(fault, dest="action")
    for name, says in _FAULTS.items():
        example = f"control-plane-stub fault {name} --agent prod-eu --count 1"
        _add_fault_options(actions.add(name, says, example=example, client=True), name)
    for name, says in (("list", "list the faults that are set"), ("clear", "remove all faults")):
        action = actions.add(
            name, says, example=f"control-plane-stub fault {name} --agent prod-eu", client=True
        )
        action.add_argument("--agent", metavar="NAME", help="only those of this agent")
        action.add_argument("--json", action="store_true")


def _add_fault_options(fault: argparse.ArgumentParser, name: str) -> None:
    fault.add_argument("--agent", metavar="NAME", required=True)
    fault.add_argument("--after-bytes", metavar="N", type=int, help="when N more bytes have come")
    fault.add_argument("--after-frames", metavar="N", type=int, help="when N more frames have come")
    fault.add_argument("--count", metavar="N", type=int, help="so many times")
    fault.add_argument("--seconds", metavar="S", type=float, help="for how long, or how late")
    fault.add_argument("--direction", choices=("in", "out", "both"), help="seen from the server")
    fault.add_argument("--json", action="store_true")
    if name == "garbage":
        fault.add_argument("--garbage", choices=_GARBAGE, help="what sort (default: malformed)")
    if name == "refuse":
        fault.add_argument("--reason", choices=sorted(CLOSE_POLICIES))
        fault.add_argument("--retry-after", metavar="S", type=float, help="what the agent is told")
