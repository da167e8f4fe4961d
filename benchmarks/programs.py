"""The programs of the distribution that benchmarks need; nothing is installed here."""

import os
import shutil
from collections.abc import Collection

ADVICE = (
    "As root: apt-get install nginx-light curl wrk openssh-server nodejs npm. "
    "Without the last three, --parts beside control memory start dispatch still works."
)
_ALWAYS = ("nginx", "curl", "wrk")
_PEERS = ("ssh", "sshd", "ssh-keygen", "node", "npm")
_WITH_PEERS = {"large", "small"}


def missing(parts: Collection[str]) -> list[str]:
    """Return what *parts* of the measurements need and this machine lacks."""
    wanted = (*_ALWAYS, *(_PEERS if _WITH_PEERS & set(parts) else ()))
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
    return [name for name in wanted if shutil.which(name, path=path) is None]
