"""What every way to log in to Vault offers. No way is described here."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.errors import CredentialUnavailable
from agent.secret import Secret
from agent.secrets.vault.lease import Lease
from agent.secrets.vault.server import VaultServer


@dataclass(frozen=True, slots=True, eq=False)
class Token:
    """A token of Vault, and how long it is good for."""

    secret: Secret
    lease: Lease


class Login(Protocol):
    """Gets a token. Files are read at each call, so that what was rotated meanwhile is used."""

    name: str
    issued: bool
    """Whether each login makes a new token, which is then ours to revoke."""

    async def log_in(self, server: VaultServer) -> Token:
        """Return a token that is valid now; one try.

        Raises:
            CredentialUnavailable: Vault refused or did not answer, or a file can't be read.
        """


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
