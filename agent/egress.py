"""Which addresses nothing in this process connects to: the metadata services of clouds.

They hand credentials of the host to whoever asks, so that a redirect, a name that resolves
anew, or an end point in disguise must not lead there. What decides is the address that is connected
to, not a text. Only the sockets of Python can be watched: what connects below it, as obstore and
libuv do, has guards of its own, or goes nowhere but where the configuration says.
"""

import errno
import ipaddress
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_FORBIDDEN = tuple(
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",  # link-local: AWS, Google, Azure, Oracle, ECS, EKS
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure's host agent
        "192.0.0.192/32",  # Oracle
        "fe80::/10",  # link-local
        "fd00:ec2::/32",  # AWS
        "fd20:ce::254/128",  # Google
    )
)
_LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")
_WRAPS_IN_ITS_END = (
    ipaddress.ip_network("::/96"),  # compatible, out of use
    ipaddress.ip_network("::ffff:0:0/96"),  # mapped
    ipaddress.ip_network("::ffff:0:0:0/96"),  # translated
    ipaddress.ip_network("64:ff9b::/96"),
    _LOCAL_NAT64,
)

_allowed: ContextVar[bool] = ContextVar("metadata_allowed", default=False)


class EgressRefused(PermissionError):
    """Something tried to connect to a metadata service."""

    def __init__(self, host: str) -> None:
        super().__init__(errno.EACCES, f"refused to connect to {host}: a metadata service")


def is_metadata(host: str) -> bool:
    """Say whether *host* is the address of a metadata service, also when IPv6 wraps it.

    A text that is no address counts as one: whoever connects has resolved the name before, and
    spellings as 2852039166 are not for us to interpret.
    """
    try:
        address: Address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return True
    return any(meant in network for meant in _meant_by(address) for network in _FORBIDDEN)


def is_loopback(host: str) -> bool:
    """Say whether *host* is an address of this very machine, or its usual name."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _meant_by(address: Address) -> Iterator[Address]:
    """Yield *address*, and what an IPv6 address that wraps one of IPv4 leads to."""
    yield address
    if not isinstance(address, ipaddress.IPv6Address):
        return
    if address.sixtofour is not None:
        yield address.sixtofour
    bits = int(address)
    if any(address in network for network in _WRAPS_IN_ITS_END):
        yield ipaddress.IPv4Address(bits & 0xFFFFFFFF)
    if address in _LOCAL_NAT64:
        # RFC 6052, 2.2: behind 48 bits, around an octet of zeros.
        yield ipaddress.IPv4Address((bits >> 64 & 0xFFFF) << 16 | bits >> 40 & 0xFFFF)


@contextmanager
def metadata_allowed() -> Iterator[None]:
    """Let this task, and the threads it starts, reach metadata services.

    Only for logins that the customer's configuration asks for, such as a host's own identity.
    """
    token = _allowed.set(True)
    try:
        yield
    finally:
        _allowed.reset(token)


@cache
def guard() -> None:
    """Refuse such connections of this process from now on; idempotent, and for ever."""
    sys.addaudithook(_watch)


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event != "socket.connect":
        return
    one, address = arguments
    if not isinstance(one, socket.socket) or one.family not in (socket.AF_INET, socket.AF_INET6):
        return
    if isinstance(address, tuple) and not _allowed.get() and is_metadata(str(address[0])):
        raise EgressRefused(str(address[0]))
