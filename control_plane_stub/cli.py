"""One function per verb of ``control-plane-stub``, and what becomes of their errors.

Options are in `arguments`, tables in `listings`; how the control plane is spoken to is in `client`.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.errors import AgentError, Exit, Unreachable, UsageError
from control_plane_stub.arguments import parser
from control_plane_stub.client.api import Client, Endpoint, Rejected, connected
from control_plane_stub.client.content_file import write_private
from control_plane_stub.client.progress import Display, open_display, printable
from control_plane_stub.client.submit import exit_code, outcome_of, see_through
from control_plane_stub.listings import agents_table, faults_table, jobs_table

Options = argparse.Namespace
TOKEN_VARIABLE = "CONTROL_PLANE_STUB_API_TOKEN_FILE"  # noqa: S105 - the name of a variable


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return the exit code; argparse itself ends the process with code 2."""
    options = parser().parse_args(arguments)
    try:
        return _run(options)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; Python must not try to flush into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except (AgentError, OSError) as error:
        print(f"control-plane-stub: {printable(str(error))}", file=sys.stderr)
        return _exit_code_of(error)


def _run(options: Options) -> int:
    if options.verb == "serve":
        return _serve(options)
    verb = _CLIENT_VERBS[options.verb]
    return asyncio.run(_with_client(options, verb))


def _exit_code_of(error: Exception) -> Exit:
    match error:
        case UsageError():
            return Exit.USAGE
        case Rejected(status=status) if 400 <= status < 500:
            return Exit.USAGE
        case Unreachable():
            return Exit.UNREACHABLE
    return Exit.FAILED


async def _with_client(options: Options, verb: "Verb") -> int:
    endpoint = Endpoint(options.server.rstrip("/"), _token(options), options.ca_file)
    async with connected(endpoint) as client:
        return await verb(client, options)


def _token(options: Options) -> str:
    path = options.api_token_file or _default_token_file(options.state_dir)
    if path is None:
        raise UsageError(
            f"no API token: name its file with --api-token-file or ${TOKEN_VARIABLE}, "
            "or the server's --state-dir"
        )
    token = _read(path, option="--api-token-file").strip()
    if not token or not token.isascii() or not token.isprintable():
        raise UsageError(f"--api-token-file {path}: it holds no token; it is one line of ASCII")
    return token


def _default_token_file(state_dir: Path | None) -> Path | None:
    if state_dir is not None:
        return state_dir / "api-token"
    named = os.environ.get(TOKEN_VARIABLE)
    return Path(named) if named else None


def _read(path: Path, *, option: str) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text()
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{option} {path}: it is not text in UTF-8") from None


async def _join_token(client: Client, options: Options) -> int:
    answer = await client.post("/join-tokens", {"agent": options.agent, "ttl": options.ttl})
    if options.output is None:
        _print(answer, options, lambda: str(answer["join_token"]))
    else:
        write_private(options.output, answer["join_token"] + "\n")
        print(f"{options.output}: good once, until {answer['expires_at']}", file=sys.stderr)
    return Exit.DONE


async def _submit(client: Client, options: Options) -> int:
    job = (await client.post("/jobs", _request(options)))["id"]
    if options.no_wait:
        print(json.dumps({"id": job}) if options.json else job)
        return Exit.DONE
    display = _display(options)
    display.note(f"job {job} submitted to {options.agent}")
    try:
        record = await see_through(client, job, display=display, target=options.output)
    except asyncio.CancelledError:
        display.note(f"job {job} goes on without you; to end it: control-plane-stub cancel {job}")
        raise
    finally:
        display.close()
    _show_end(record, options)
    return exit_code(record)


def _display(options: Options) -> Display:
    stdout_is_taken = options.json or options.output == "-"
    return open_display(log_to=sys.stderr if stdout_is_taken else sys.stdout)


def _show_end(record: dict[str, Any], options: Options) -> None:
    if options.json:
        print(json.dumps(record), file=sys.stderr if options.output == "-" else sys.stdout)
    elif record.get("result") and options.output != "-":
        print(json.dumps(record["result"], indent=2))
    print(printable(outcome_of(record)), file=sys.stderr)


def _request(options: Options) -> dict[str, Any]:
    parameters = _parameters(options)
    if options.follow and options.kind == "trigger-pipeline":
        parameters.setdefault("wait", True)
    request = {"agent": options.agent, "kind": options.kind, "parameters": parameters}
    return request if options.deadline is None else request | {"deadline_s": options.deadline}


def _parameters(options: Options) -> dict[str, Any]:
    parameters = _from_file(options.params) if options.params else {}
    for key, value in options.param:
        *parents, last = key.split(".")
        place = parameters
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise UsageError(f"-p {key}: {parent} has a value already, and it is no object")
        place[last] = value
    return parameters


def _from_file(path: Path) -> dict[str, Any]:
    try:
        parameters = json.loads(_read(path, option="--params"))
    except ValueError as error:
        raise UsageError(f"--params {path}: {error}") from None
    if not isinstance(parameters, dict):
        raise UsageError(f'--params {path}: it holds no JSON object, as {{"uri": "s3://b/k"}}')
    return parameters


async def _jobs(client: Client, options: Options) -> int:
    answer = await client.get(
        "/jobs", agent=options.agent, state=options.state, limit=options.limit
    )
    _print(answer, options, lambda: jobs_table(answer["jobs"], now=datetime.now(UTC)))
    return Exit.DONE


async def _agents(client: Client, options: Options) -> int:
    answer = await client.get("/agents")
    _print(answer, options, lambda: agents_table(answer["agents"]))
    return Exit.DONE


async def _cancel(client: Client, options: Options) -> int:
    answer = await client.post(f"/jobs/{options.id}/cancel", {})
    _print(answer, options, lambda: f"job {options.id} is being cancelled")
    return Exit.DONE


async def _fault(client: Client, options: Options) -> int:
    match options.action:
        case "list":
            answer = await client.get("/faults", agent=options.agent)
            _print(answer, options, lambda: faults_table(answer["faults"]))
        case "clear":
            where = f"?agent={options.agent}" if options.agent else ""
            _print(await client.delete(f"/faults{where}"), options, lambda: "faults cleared")
        case _:
            answer = await client.post("/faults", _fault_of(options))
            _print(answer, options, lambda: f"{options.action} is set for {options.agent}")
    return Exit.DONE


def _fault_of(options: Options) -> dict[str, Any]:
    names = ["after_bytes", "after_frames", "count", "seconds", "direction", "garbage"]
    names += ["reason", "retry_after"]
    given = {name: value for name in names if (value := getattr(options, name, None)) is not None}
    return {"agent": options.agent, "fault": options.action} | given


def _print(answer: Any, options: Options, text: Callable[[], str]) -> None:
    print(json.dumps(answer) if options.json else text())


def _serve(options: Options) -> int:
    # The other verbs neither need the server nor shall wait for it to be loaded.
    from control_plane_stub.serving import run_server

    run_server(options)
    return Exit.DONE


Verb = Callable[[Client, Options], Awaitable[int]]
_CLIENT_VERBS: dict[str, Verb] = {
    "join-token": _join_token,
    "submit": _submit,
    "jobs": _jobs,
    "agents": _agents,
    "cancel": _cancel,
    "fault": _fault,
}
