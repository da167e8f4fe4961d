"""The official client, made to do what our own sessions do; only this module builds one."""

import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from agent.clouds.kubernetes.subject import basic_pair
from agent.credentials import KubernetesCredentials
from agent.errors import CredentialUnavailable
from agent.version import VERSION

if TYPE_CHECKING:
    from aiohttp import ClientSession
    from kubernetes_asyncio.client import ApiClient, Configuration

_PIECE_OF_A_WATCH = 2**21


@asynccontextmanager
async def client_for(credentials: KubernetesCredentials) -> AsyncIterator["ApiClient"]:
    """Lend a client that logs in with *credentials* and is closed afterwards.

    It follows no redirect, takes proxies from the environment and no password from a .netrc, and
    trusts the cluster's CA alone where the credentials name one.
    """
    from aiohttp import ClientSession, TCPConnector
    from kubernetes_asyncio.client import ApiClient

    connector = TCPConnector(ssl=_tls(credentials))
    # The client's own session reads the .netrc, and wants keys in files. It is never used, and to
    # give it the cluster's CA spares it the 20 ms of loading all usual ones.
    authority = credentials.certificate_authority
    with _readable(authority.reveal() if authority else "") as path:
        configuration = _configuration(credentials)
        configuration.ssl_ca_cert = path if authority else None
        client = ApiClient(configuration)
    await client.rest_client.close()
    client.user_agent = f"cloud-agent/{VERSION}"
    session = ClientSession(connector=connector, read_bufsize=_PIECE_OF_A_WATCH)
    client.rest_client.pool_manager = _OneAnswer(session)  # type: ignore[assignment]
    try:
        yield client
    finally:
        await client.close()


class _OneAnswer:
    """A session that follows no redirect: an API server sends none."""

    def __init__(self, session: "ClientSession") -> None:
        self._session = session

    def request(self, **arguments: Any) -> Any:
        return self._session.request(**arguments, allow_redirects=False)

    async def close(self) -> None:
        await self._session.close()


def _configuration(credentials: KubernetesCredentials) -> "Configuration":
    from kubernetes_asyncio.client import Configuration

    configuration = Configuration(host=credentials.server)
    configuration.proxy = _proxy(credentials.server)
    if credentials.token is not None:
        configuration.api_key["BearerToken"] = f"Bearer {credentials.token.reveal()}"
    elif pair := basic_pair(credentials):
        configuration.api_key["BearerToken"] = f"Basic {pair.reveal()}"
    return configuration


def _proxy(server: str) -> str | None:
    parts = urlsplit(server)
    if proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def _tls(credentials: KubernetesCredentials) -> ssl.SSLContext:
    authority = credentials.certificate_authority
    try:
        context = ssl.create_default_context(cadata=authority.reveal() if authority else None)
    except (ssl.SSLError, ValueError):
        raise CredentialUnavailable(detail="the cluster's CA is not PEM text") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # CAs that older installers made lack extensions which newer versions of Python insist on.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not credentials.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    _show_certificate(context, credentials)
    return context


def _show_certificate(context: ssl.SSLContext, credentials: KubernetesCredentials) -> None:
    certificate, key = credentials.client_certificate, credentials.client_key
    if certificate is None or key is None:
        return
    with _readable(f"{certificate.reveal()}\n{key.reveal()}\n") as path:
        try:
            # Without a passphrase of ours, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(path, password="")
        except (ssl.SSLError, ValueError):
            detail = "client certificate and key are not PEM text, or not of each other"
            raise CredentialUnavailable(detail=detail) from None


@contextmanager
def _readable(text: str) -> Iterator[str]:
    """Lend a path where *text* can be read, in memory where the system can do that."""
    if not hasattr(os, "memfd_create"):
        with tempfile.NamedTemporaryFile() as file:
            file.write(text.encode())
            file.flush()
            yield file.name
        return
    descriptor = os.memfd_create("certificate")
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
