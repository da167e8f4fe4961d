"""How the control plane is reached: host, port, and the proxy that applies. Dials nothing."""

import asyncio
import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from agent.config.control_plane import ControlPlane
from agent.config.show import without_userinfo
from agent.preflight.rows import Row, Status


@dataclass(frozen=True, slots=True)
class Route:
    """Where to dial, and through what; `repr` shows no password."""

    host: str
    port: int
    secure: bool
    proxy: str | None = field(repr=False)
    proxy_source: str


def route_to(control_plane: ControlPlane) -> Route:
    """Return how the control plane is reached; the environment counts where no proxy is set."""
    parts = urlsplit(control_plane.url)
    host, secure = parts.hostname or "", parts.scheme == "wss"
    port = parts.port or (443 if secure else 80)
    if control_plane.proxy:
        return Route(host, port, secure, control_plane.proxy, "control_plane.proxy")
    proxy = None if proxy_bypass(f"{host}:{port}") else _proxy_of_environment(secure)
    return Route(host, port, secure, proxy, "the environment")


def _proxy_of_environment(secure: bool) -> str | None:
    proxies = getproxies()
    schemes = ("wss", "socks", "https") if secure else ("ws", "socks", "https", "http")
    return next((proxies[scheme] for scheme in schemes if scheme in proxies), None)


def proxy_row(route: Route) -> Row:
    """Say which proxy applies, and why; never its password."""
    if route.proxy is None:
        return Row(Status.PASS, "proxy", "none: the control plane is dialled directly")
    shown = f"{without_userinfo(route.proxy)} (from {route.proxy_source})"
    return Row(Status.PASS, "proxy", shown)


async def dns_row(route: Route) -> Row:
    """Say what the name to dial resolves to: the proxy's, where one applies."""
    parts = urlsplit(route.proxy or "")
    host = parts.hostname or route.host
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as exc:
        advice = "ask for the name in this network's DNS, or set control_plane.proxy"
        return Row(Status.FAIL, "dns", f"{host} has no address: {exc.strerror}", advice)
    addresses = ", ".join(dict.fromkeys(str(entry[4][0]) for entry in found))
    whose = "the proxy " if route.proxy else ""
    return Row(Status.PASS, "dns", f"{whose}{host} is {addresses}")
