"""The connections to one Vault: whom they trust, and the certificate that they show.

What is asked over them is not known here.
"""

import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import CredentialUnavailable

if TYPE_CHECKING:
    from agent.http_session import HttpSession


class Connections:
    """Opens a session when it is first needed, with what the files hold then.

    With a *ca_file* no other CA is trusted. Safe for concurrent threads.
    """

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._certificate: tuple[Path, Path] | None = None
        self._session: HttpSession | None = None
        self._lock = threading.Lock()

    def session(self) -> "HttpSession":
        """Return the session that all share.

        Raises:
            CredentialUnavailable: A file can't be read, or is not what it should be.
        """
        with self._lock:
            if self._session is None:
                self._session = self._opened()
            return self._session

    def show(self, cert_file: Path, key_file: Path) -> None:
        """Use no connection again, and show this certificate on each new one."""
        with self._lock:
            self._certificate = (cert_file, key_file)
            old, self._session = self._session, None
        if old is not None:
            old.close()

    def drop(self, session: "HttpSession") -> None:
        """Let the next session read the files anew, since *session* was of no use."""
        with self._lock:
            if self._session is session:
                self._session = None
        session.close()

    def close(self) -> None:
        """Close what is open; idempotent."""
        with self._lock:
            old, self._session = self._session, None
        if old is not None:
            old.close()

    def _opened(self) -> "HttpSession":
        from agent.http_session import HttpSession

        context = ssl.create_default_context()
        try:
            if self._ca_file:
                context.load_verify_locations(self._ca_file)
        except OSError as error:
            raise _unusable(error, self._ca_file) from None
        try:
            for file in self._certificate or ():
                file.open("rb").close()  # OpenSSL would not say which one it can't open
            return HttpSession(
                ca_file=self._ca_file, only_ca_file=True, certificate=self._certificate
            )
        except OSError as error:
            raise _unusable(error, *self._certificate or ()) from None


def _unusable(error: OSError, *files: Path | None) -> CredentialUnavailable:
    # For what is wrong with a file's content, OpenSSL's words help nobody.
    why = "not what it should be" if isinstance(error, ssl.SSLError) else error.strerror
    names = error.filename or " and ".join(map(str, files))
    return CredentialUnavailable(detail=f"{names}: {why}")
