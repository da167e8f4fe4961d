"""A real registry of container images with TLS, that asks for a password or for a token."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.doubles.registry_tokens import ISSUER, SERVICE, issuing_tokens
from tests.servers.processes import free_port, spawn
from tests.servers.programs import program
from tests.servers.tls import CertificateAuthority

USER = "ml-puller"
PASSWORD = "password-at-a-test-registry"
HTPASSWD = f"{USER}:$2b$05$qEhRexubLrqCUZsk3bmAFub76EAlH1dDvM4ITSF56EPXnd7iKRPKK\n"
"""The password above, as bcrypt has it."""


@contextmanager
def registry_with_passwords(authority: CertificateAuthority, directory: Path) -> Iterator[str]:
    """Run one that challenges with Basic; yields host and port."""
    passwords = directory / "htpasswd"
    passwords.write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "test", "path": str(passwords)}}
    with _registry(authority, directory, auth) as host:
        yield host


@contextmanager
def registry_with_tokens(authority: CertificateAuthority, directory: Path) -> Iterator[str]:
    """Run one that challenges with Bearer, and a server that issues its tokens."""
    with issuing_tokens(authority, {USER: PASSWORD}) as realm:
        token = {
            "realm": realm,
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(authority.ca_file),
        }
        with _registry(authority, directory, {"token": token}) as host:
            yield host


@contextmanager
def registry_for_anybody(authority: CertificateAuthority, directory: Path) -> Iterator[str]:
    """Run one that asks for nothing."""
    with _registry(authority, directory, {}) as host:
        yield host


@contextmanager
def _registry(
    authority: CertificateAuthority, directory: Path, auth: Mapping[str, Any]
) -> Iterator[str]:
    port = free_port()
    certificate, key = authority.issue(f"registry-{port}")
    configuration = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(directory / "images")}},
        "http": {
            "addr": f"127.0.0.1:{port}",
            "secret": "shared-by-nobody",
            "tls": {"certificate": str(certificate), "key": str(key)},
        },
        "auth": dict(auth),
    }
    path = directory / "registry.yml"
    path.write_text(yaml.safe_dump(configuration))
    argv = [program("docker-registry"), "serve", path]
    with spawn(argv, ready=port, log=directory / "registry.log"):
        yield f"127.0.0.1:{port}"
