"""The control plane: where the agent dials, and what it trusts there."""

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import field_validator, model_validator

from agent.config.parts import Part, has_host
from agent.config.units import Duration, Size
from agent.egress import is_loopback

# Written out, since the guard reads settings and must not reach the protocol through them.
_CONNECT_PATH = "/agent/v1/connect"


class ClientCertificate(Part):
    """A certificate for mutual TLS, PEM files."""

    cert_file: Path
    """The certificate, and those between it and the CA."""
    key_file: Path
    """Its private key, without a passphrase."""


class Backoff(Part):
    """Delays between attempts to connect: doubled each time, and each drawn between 0 and that."""

    first: Duration = 0.5
    """The bound of the first delay."""
    longest: Duration = 30.0
    """The bound that doubling ends at."""
    stable_after: Duration = 10.0
    """A connection that lasted so long begins again at `first`."""


class ControlPlane(Part):
    """Where the agent dials, and what it trusts there."""

    url: str = "wss://cloud.example.com/agent/v1/connect"
    """The agent end point of the control plane; ws:// only to a loopback address."""
    join_token_file: Path | None = None
    """Holds the one-time join token; needed for the first start only."""
    ca_file: Path | None = None
    """PEM file with the private CA that signed the control plane's certificate."""
    client_certificate: ClientCertificate | None = None
    """For mutual TLS."""
    proxy: str | None = None
    """Like http://user:password@proxy:3128, https://, socks5:// or socks5h://.

    Default: what HTTPS_PROXY and NO_PROXY say."""
    allow_plaintext: bool = False
    """Permit ws:// to an address that is not loopback."""
    upload_from: Size | None = 8 * 1024 * 1024
    """Content of this size and above goes by HTTP PUT, where the control plane offers that.

    null never uploads. Smaller content goes through the WebSocket."""
    backoff: Backoff = Backoff()

    @field_validator("proxy")
    @classmethod
    def _proxy_is_known(cls, proxy: str | None) -> str | None:
        parts = urlsplit(proxy or "http://proxy:3128")
        if parts.scheme not in ("http", "https", "socks5", "socks5h") or not has_host(parts):
            raise ValueError(
                "should be like http://proxy:3128 or socks5h://user:password@proxy:1080"
            )
        return proxy

    @model_validator(mode="after")
    def _url_is_safe(self) -> Self:
        parts = urlsplit(self.url)
        if (
            parts.scheme not in ("ws", "wss")
            or not parts.hostname
            or not parts.path.endswith(_CONNECT_PATH)
        ):
            raise ValueError("url: should be like wss://cloud.example.com/agent/v1/connect")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "url: no user, password, query or fragment; the agent proves itself by its key"
            )
        if parts.scheme == "ws" and not self.allow_plaintext and not is_loopback(parts.hostname):
            raise ValueError(
                "url: use wss://, or set allow_plaintext: true for ws:// to another host"
            )
        return self
