"""The agent's own key: made on this host, never sent, and the proof of it at every connect.

Nothing here talks to anybody; `link` carries the proof. Rotation of the key will have its place
here.
"""

import base64
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.errors import UsageError

KEY_FILE = "identity.key"
ENROLLED_FILE = "enrolled.json"
PROOF_LIFETIME = 60
PROOF_TYPE = "cloud-agent-proof+jwt"


@dataclass(frozen=True, slots=True)
class Identity:
    """One instance's key and names. `repr` shows no part of the key."""

    agent: str
    instance: str
    _key: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"<Identity {self.agent}/{self.instance}>"

    @classmethod
    def load_or_create(cls, state_dir: Path, agent: str) -> Self:
        """Return the identity in *state_dir*; make its key there when there is none. Idempotent.

        Processes may call it at the same time, and get the same key; they wait for each other.

        Raises:
            UsageError: The directory can't be written, or the key file is no key or readable by
                others.
        """
        path = state_dir / KEY_FILE
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(state_dir):
                if not path.exists():
                    _write_private(path, _pem(Ed25519PrivateKey.generate()))
                key = _read_key(path)
        except OSError as exc:
            raise UsageError(
                f"agent.state_dir: {path} can't be used ({exc.strerror}); "
                "give the agent a directory of its own that it may write"
            ) from None
        return cls(agent, instance_of(_raw_public(key)), key)

    @property
    def public_key(self) -> str:
        """The raw 32 bytes of the public key, base64url without padding."""
        return _b64(_raw_public(self._key))

    def proof(self, audience: str, *, now: float, nonce: str) -> str:
        """Return a signed statement that this instance dials *audience* now.

        A compact JWS (RFC 7515) with the algorithm EdDSA (RFC 8037). It is good for a minute and,
        as the control plane remembers *nonce* that long, for one connect.
        """
        header = {"alg": "EdDSA", "typ": PROOF_TYPE, "kid": self.instance}
        claims = {
            "iss": self.instance,
            "sub": self.agent,
            "aud": audience,
            "iat": int(now),
            "exp": int(now) + PROOF_LIFETIME,
            "jti": nonce,
        }
        signed = f"{_b64(_compact(header))}.{_b64(_compact(claims))}"
        return f"{signed}.{_b64(self._key.sign(signed.encode('ascii')))}"


def instance_of(public_key: bytes) -> str:
    """Return the name that follows from a raw public key."""
    return "i-" + hashlib.sha256(public_key).hexdigest()[:20]


def enrolled_at(state_dir: Path) -> str | None:
    """Return the control plane's URL at which this state directory's key is registered, or None."""
    try:
        url = json.loads((state_dir / ENROLLED_FILE).read_text())["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return url if isinstance(url, str) else None


def remember_enrolment(state_dir: Path, url: str) -> None:
    """Note that the key is registered at *url*, so that no join token is needed again."""
    _write_private(state_dir / ENROLLED_FILE, _compact({"url": url}))


def _read_key(path: Path) -> Ed25519PrivateKey:
    if path.stat().st_mode & 0o077:
        raise UsageError(
            f"{path} may be read by others; chmod 600 it, or remove it and enroll again"
        )
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it wants a password.
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path} holds no Ed25519 key; remove it and enroll again")
    return key


def _write_private(path: Path, content: bytes) -> None:
    """Write *content* so that a crash leaves the old file or the new one, readable by us alone.

    On disk, name and all, when it returns: the control plane is told of the key right after.
    """
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    with _opened(path.parent) as directory:
        os.fsync(directory)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Let processes that start together make one key and not two. A crash ends the lock."""
    with _opened(directory) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _raw_public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def _compact(value: dict[str, object] | dict[str, str]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")
