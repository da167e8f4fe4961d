"""The one API token: where it comes from, and the check of each request."""

import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Middleware

from control_plane_stub.rest.errors import ApiError

GUARDED = "/api/"
SHORTEST_TOKEN = 16


def api_token(file: Path | None, *, state_dir: Path) -> str:
    """Return the token in *file*; without one, that of the state directory, made if missing.

    Raises:
        OSError: The file can't be read or made.
        ValueError: The token is too short to be one.
    """
    path = file or state_dir / "api-token"
    if file is None and not path.exists():
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(path, flags, 0o600), "w") as made:
            made.write(secrets.token_urlsafe(32) + "\n")
    token = path.read_text().strip()
    if len(token) < SHORTEST_TOKEN:
        raise ValueError(f"{path}: an API token has at least {SHORTEST_TOKEN} characters")
    return token


def bearer_check(token: str) -> Middleware:
    """Return the middleware that lets requests below `GUARDED` in by this token only.

    That a browser never sends it by itself is what keeps foreign pages and rebound names out.
    """
    expected = f"Bearer {token}".encode()

    @web.middleware
    async def check(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path.startswith(GUARDED):
            given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
            if not secrets.compare_digest(given, expected):
                raise ApiError(401, "unauthorized", "this needs the API token as a bearer token")
        return await handler(request)

    return check
