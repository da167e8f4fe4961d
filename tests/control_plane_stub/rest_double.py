"""A control plane with scripted answers, for what a real one does only by chance."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = "token-of-the-double"


@dataclass
class ScriptedJob:
    """One job that ends as it is written here; the connection is cut where it says."""

    content: bytes = b""
    state: str = "succeeded"
    reason: str | None = None
    message: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    log: str = ""
    sha256: str | None = None
    cut_content_at: list[int] = field(default_factory=list)
    cut_events: int = 0
    honours_range: bool = True
    never_ends: bool = False

    def record(self, job: str, request: dict[str, Any]) -> dict[str, Any]:
        sha256 = self.sha256 or hashlib.sha256(self.content).hexdigest()
        trailer = {"bytes": len(self.content), "sha256": sha256, "log_end": len(self.log)}
        return {
            "id": job,
            "agent": request.get("agent"),
            "instance": "one",
            "kind": request.get("kind"),
            "parameters": request.get("parameters"),
            "state": self.state,
            "reason": self.reason,
            "message": self.message,
            "result": self.result,
            "trailer": trailer,
            "progress": {"bytes": len(self.content), "size": len(self.content)},
            "created_at": "2026-01-01T00:00:00Z",
        }


class RestDouble:
    """Gives every submitted job the next script; remembers what was asked of it."""

    def __init__(self, *scripts: ScriptedJob) -> None:
        self.scripts = list(scripts)
        self.requests: list[dict[str, Any]] = []
        self.ranges: list[str | None] = []
        self.last_event_ids: list[str | None] = []
        self.posted: list[tuple[str, Any]] = []
        self.submitted = asyncio.Event()
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["RestDouble"]:
        app = web.Application(middlewares=[_require_token])
        app.add_routes(
            [
                web.post("/api/v1/jobs", self._submit),
                web.get("/api/v1/jobs", self._list),
                web.get("/api/v1/jobs/{id}", self._record),
                web.get("/api/v1/jobs/{id}/events", self._events),
                web.get("/api/v1/jobs/{id}/content", self._content),
                web.post("/api/v1/{what:.*}", self._post),
            ]
        )
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _submit(self, request: web.Request) -> web.Response:
        self.requests.append(await request.json())
        self.submitted.set()
        return web.json_response({"id": f"job-{len(self.requests) - 1}"}, status=202)

    async def _list(self, request: web.Request) -> web.Response:
        ids = range(len(self.requests))
        return web.json_response({"jobs": [self._of(f"job-{n}") for n in ids]})

    async def _record(self, request: web.Request) -> web.Response:
        if request.match_info["id"] != "job-0":
            error = {"reason": "not_found", "message": "there is no such job"}
            return web.json_response({"error": error}, status=404)
        return web.json_response(self._of(request.match_info["id"]))

    async def _post(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.posted.append((request.path, body))
        answer = {"join_token": "one-time", "expires_at": "2026-01-01T00:30:00Z"} | body
        return web.json_response(answer)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        self.last_event_ids.append(request.headers.get("Last-Event-ID"))
        script = self._script(request)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        seen = int(self.last_event_ids[-1] or 0)
        for number, (kind, data) in enumerate(_events_of(script), start=1):
            if number > seen:
                text = f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"
                await response.write(text.encode())
            if script.cut_events and number == script.cut_events:
                script.cut_events = 0
                return _cut(request, response)
        if script.never_ends:
            await asyncio.Event().wait()
        return response

    async def _content(self, request: web.Request) -> web.StreamResponse:
        self.ranges.append(request.headers.get("Range"))
        script = self._script(request)
        first = request.http_range.start or 0 if script.honours_range else 0
        response = web.StreamResponse(status=206 if first else 200)
        if first:
            size = len(script.content)
            response.headers["Content-Range"] = f"bytes {first}-{size - 1}/{size}"
        await response.prepare(request)
        end = script.cut_content_at.pop(0) if script.cut_content_at else len(script.content)
        await response.write(script.content[first:end])
        broken = end < len(script.content) or script.state != "succeeded"
        return _cut(request, response) if broken else response

    def _script(self, request: web.Request) -> ScriptedJob:
        return self.scripts[int(request.match_info["id"].removeprefix("job-"))]

    def _of(self, job: str) -> dict[str, Any]:
        number = int(job.removeprefix("job-"))
        return self.scripts[number].record(job, self.requests[number])


def _events_of(script: ScriptedJob) -> list[tuple[str, Any]]:
    events: list[tuple[str, Any]] = [("state", {"state": "running"})]
    end = 0
    for line in script.log.splitlines(keepends=True):
        events.append(("log", {"offset": end, "end": end + len(line), "text": line}))
        end += len(line)
    size = len(script.content)
    events.append(("progress", {"bytes": size, "size": size, "done": None, "of": None}))
    return events if script.never_ends else [*events, ("result", {"state": script.state})]


def _cut(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return response


@web.middleware
async def _require_token(request: web.Request, handler: Any) -> web.StreamResponse:
    if request.headers.get("Authorization") != f"Bearer {TOKEN}":
        error = {"reason": "unauthorized", "message": "wrong token"}
        return web.json_response({"error": error}, status=401)
    response: web.StreamResponse = await handler(request)
    return response
