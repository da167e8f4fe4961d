"""What every way to log in to Vault offers, and what most have in common. No way is described
here."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.errors import CredentialUnavailable
from agent.secret import Secret
from agent.secrets.vault.answers import seconds, section, text
from agent.secrets.vault.lease import Lease
from agent.secrets.vault.server import VaultRefused, VaultServer, api_path


@dataclass(frozen=True, slots=True, eq=False)
class Token:
    """A token of Vault, how long it is good for, and whether it is ours to revoke."""

    secret: Secret
    lease: Lease
    revocable: bool


class Login(Protocol):
    """Gets a token. Files are read at each call, so that what was rotated meanwhile is used."""

    name: str

    async def log_in(self, server: VaultServer) -> Token:
        """Return a token that is valid now; one try.

        Raises:
            CredentialUnavailable: Vault refused or did not answer, or a file can't be read.
        """


async def issued(
    server: VaultServer, *path: str, form: Mapping[str, str], advice: str = ""
) -> Token:
    """Send *form* to the login at *path*; return the new token.

    Raises:
        VaultRefused: Vault knows no such login; the text ends with *advice*.
        CredentialUnavailable: As `VaultServer.ask`.
    """
    url = api_path("auth", *path)
    try:
        answer = await server.ask(lambda client: client.adapter.post(url, json=dict(form)))
    except VaultRefused as refusal:
        raise type(refusal)(detail=f"{refusal.detail}; {advice}") from None
    auth = section(answer, "auth")
    if not (token := text(auth, "client_token")):
        raise CredentialUnavailable(detail=f"{url}: no token; a login with MFA is not for agents")
    life = seconds(auth, "lease_duration")
    lease = Lease.of(life, renewable=auth.get("renewable") is True)
    return Token(Secret(token), lease, revocable=auth.get("token_type") != "batch")


async def first_line(path: Path) -> Secret:
    """Return the first line of the file at *path*, stripped.

    Raises:
        CredentialUnavailable: It can't be read, or has nothing there.
    """
    try:
        text = await asyncio.to_thread(path.read_text, "utf-8")
    except OSError as error:
        raise CredentialUnavailable(detail=f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CredentialUnavailable(detail=f"{path} is not UTF-8 text") from None
    line = text.strip().partition("\n")[0].strip()
    if not line:
        raise CredentialUnavailable(detail=f"{path} is empty")
    return Secret(line)
