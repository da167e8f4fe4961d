"""What needs no token: the dashboard's files, health and metrics. None of it shows a job."""

from pathlib import Path

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from control_plane_stub.plane import ControlPlane
from control_plane_stub.rest.metrics import registry_of

DASHBOARD = Path(__file__).parent.parent / "dashboard"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class Pages:
    """Serves the files that were in the folder at start, by name; there is no path to traverse."""

    def __init__(self, plane: ControlPlane) -> None:
        self._files = {path.name: path for path in DASHBOARD.glob("*") if path.is_file()}
        self._registry = registry_of(plane)

    async def index(self, _: web.Request) -> web.StreamResponse:
        return self._file("index.html")

    async def asset(self, request: web.Request) -> web.StreamResponse:
        return self._file(request.match_info["file"])

    async def health(self, _: web.Request) -> web.Response:
        """Answer; the loop that would not is not healthy."""
        return web.json_response({"status": "ok"})

    async def metrics(self, _: web.Request) -> web.Response:
        body = generate_latest(self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    def _file(self, name: str) -> web.StreamResponse:
        path = self._files.get(name)
        if path is None:
            raise web.HTTPNotFound
        return web.FileResponse(path, headers=HEADERS)
