"""The secret id of an AppRole, as it stands in a file or wrapped in a token that does."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agent.errors import CredentialUnavailable
from agent.secret import Secret
from agent.secrets.one_use import before_use
from agent.secrets.vault.answers import section, text
from agent.secrets.vault.login import first_line
from agent.secrets.vault.server import VaultDenied, VaultRefused, VaultServer
from agent.telemetry.logs import get_logger

log = get_logger()


@dataclass(slots=True)
class _Unwrapped:
    """What a file's token held."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wrapping: Secret | None = None
    secret_id: Secret | None = None


# A token is good for one unwrapping, so what it held has to outlive the store that did it: each
# configuration that is loaded has stores of its own, and several may share a file.
_UNWRAPPED: defaultdict[tuple[str, Path], _Unwrapped] = defaultdict(_Unwrapped)


class PlainSecretId:
    """The first line of *file* is the secret id."""

    def __init__(self, file: Path, *, on_secret: Callable[[Secret], None]) -> None:
        self._file = file
        self._on_secret = on_secret

    async def read(self, _server: VaultServer) -> Secret:
        secret_id = await first_line(self._file)
        self._on_secret(secret_id)
        return secret_id


class WrappedSecretId:
    """The first line of *file* is a wrapping token, good for one unwrapping.

    What it held is kept in memory for all later logins, until the file holds another token. Only
    what the AppRole method at *mount* wrapped is taken: who intercepts a token can wrap what it
    held again, but not in that method's name.
    """

    def __init__(self, file: Path, *, mount: str, on_secret: Callable[[Secret], None]) -> None:
        self._file = file
        self._mount = mount
        self._on_secret = on_secret

    async def read(self, server: VaultServer) -> Secret:
        known = _UNWRAPPED[server.address, self._file]
        async with known.lock:
            wrapping = await self._wrapping_token(known)
            if known.secret_id is None or wrapping != known.wrapping:
                self._on_secret(wrapping)
                await self._require_own(server, wrapping)
                before_use(f"the wrapping token in {self._file}")
                known.secret_id = await self._unwrapped(server, wrapping)
                known.wrapping = wrapping
            self._on_secret(known.secret_id)
            return known.secret_id

    async def _wrapping_token(self, known: _Unwrapped) -> Secret:
        try:
            return await first_line(self._file)
        except CredentialUnavailable:
            # Whoever brings the token may well take its file away again.
            if known.wrapping is not None:
                return known.wrapping
            raise

    async def _require_own(self, server: VaultServer, wrapping: Secret) -> None:
        form = {"token": wrapping.reveal()}
        try:
            answer = await server.ask(
                lambda client: client.adapter.post("/v1/sys/wrapping/lookup", json=form)
            )
        except (VaultDenied, VaultRefused):
            raise self._alarm("was used before, or has expired") from None
        path = text(section(answer, "data"), "creation_path")
        prefix, _, kind = path.rpartition("/")
        method = prefix.rpartition("/role/")[0]
        if kind not in ("secret-id", "custom-secret-id") or method != f"auth/{self._mount}":
            raise self._alarm(f"holds no secret id: it was made by {path}")

    async def _unwrapped(self, server: VaultServer, wrapping: Secret) -> Secret:
        try:
            answer = await server.ask(
                lambda client: client.adapter.post("/v1/sys/wrapping/unwrap"), wrapping
            )
        except (VaultDenied, VaultRefused):
            raise self._alarm("was used before, or has expired") from None
        return Secret(text(section(answer, "data"), "secret_id"))

    def _alarm(self, why: str) -> CredentialUnavailable:
        log.error(
            "vault.wrapping_token_not_ours",
            file=str(self._file),
            why=why,
            advice="somebody may have intercepted it: destroy the secret id, look into Vault's "
            "audit log, and bring a new wrapping token",
        )
        return CredentialUnavailable(
            detail=f"the wrapping token in {self._file} {why}; it may have been intercepted"
        )
