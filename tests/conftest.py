"""What every test may ask for; a server that only one folder needs stands in its own conftest."""

import os
from collections.abc import Iterator

import pytest

from tests.servers.seaweedfs import SeaweedFS, start_seaweedfs
from tests.servers.tls import CertificateAuthority

PROXY_VARIABLES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}


@pytest.fixture(scope="session")
def certificate_authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """A throw-away CA, trusted by whoever is given its `ca_file` and by nobody else."""
    return CertificateAuthority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """An S3 and STS server that enforces credentials; each test keeps to a prefix of its own."""
    server = start_seaweedfs(tmp_path_factory.mktemp("seaweedfs"))
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the proxies and agent settings of the machine that runs the tests out of them."""
    for name in list(os.environ):
        if name.upper() in PROXY_VARIABLES or name.startswith("CLOUD_AGENT__"):
            monkeypatch.delenv(name)
