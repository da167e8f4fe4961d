"""A double of an OAuth 2 authorization server, and of a service that takes its tokens."""

from base64 import b64encode
from urllib.parse import parse_qs, quote_plus

from aiohttp import web


class AuthorizationServer:
    """Issues numbered tokens at ``/token``; ``/`` takes them, and every header in *accepted*."""

    def __init__(self, client_id: str, secret: str) -> None:
        self.client_id = client_id
        self.secret = secret
        self.life: object = 3600
        self.token_type = "Bearer"
        self.failures: list[web.Response] = []
        self.requests: list[dict[str, str]] = []
        self.accepted: set[str | None] = set()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return what the path says."""
        if request.path == "/token":
            return self._issue(request.headers, await request.text())
        status = 200 if request.headers.get("Authorization") in self.accepted else 401
        return web.Response(status=status)

    def _issue(self, headers: object, body: str) -> web.Response:
        form = {key: values[0] for key, values in parse_qs(body).items()}
        self.requests.append(form)
        if self.failures:
            return self.failures.pop(0)
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self.secret)}"
        if headers["Authorization"] != f"Basic {b64encode(pair.encode()).decode()}":  # type: ignore[index]
            # Some servers quote in their description what they were sent.
            said = {"error": "invalid_client", "error_description": f"not {self.secret}"}
            return web.json_response(said, status=401)
        token = f"issued-token-{len(self.requests)}"
        self.accepted = {f"Bearer {token}"}
        issued = {"access_token": token, "token_type": self.token_type}
        return web.json_response(issued | ({"expires_in": self.life} if self.life else {}))
