"""What every test may ask for; a server that only one folder needs stands in its own conftest."""

import os
from collections.abc import Iterator

import pytest

from tests.servers.azurite import Azurite, start_azurite
from tests.servers.kubernetes import Cluster, cluster_of_environment
from tests.servers.mlflow import Mlflow, start_mlflow
from tests.servers.moto import Moto, start_moto
from tests.servers.seaweedfs import SeaweedFS, start_seaweedfs
from tests.servers.tls import CertificateAuthority
from tests.servers.vault import Vault, start_vault
from tests.servers.zenml import Zenml, start_zenml

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


@pytest.fixture(scope="session")
def vault(
    tmp_path_factory: pytest.TempPathFactory, certificate_authority: CertificateAuthority
) -> Iterator[Vault]:
    """An OpenBao with TLS where every login method is set up; each test keeps to its own paths."""
    with start_vault(tmp_path_factory.mktemp("vault"), certificate_authority) as vault:
        yield vault


@pytest.fixture(scope="session")
def zenml(tmp_path_factory: pytest.TempPathFactory, seaweedfs: SeaweedFS) -> Iterator[Zenml]:
    """A ZenML server whose artifacts, of one pipeline run, are in `seaweedfs`."""
    server = start_zenml(tmp_path_factory.mktemp("zenml"), seaweedfs)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory, seaweedfs: SeaweedFS) -> Iterator[Mlflow]:
    """A tracking server with its artifacts in `seaweedfs`; each test has runs of its own."""
    server = start_mlflow(tmp_path_factory.mktemp("mlflow") / "server", seaweedfs)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, certificate_authority: CertificateAuthority
) -> Iterator[Cluster]:
    """The Kubernetes cluster that KUBECONFIG names, else the double of its API."""
    directory = tmp_path_factory.mktemp("cluster")
    with cluster_of_environment(certificate_authority, directory) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def azurite(
    tmp_path_factory: pytest.TempPathFactory, certificate_authority: CertificateAuthority
) -> Iterator[Azurite]:
    """A server of Azure Blob Storage with TLS that enforces credentials."""
    server = start_azurite(tmp_path_factory.mktemp("azurite"), certificate_authority)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """A stand-in for AWS that enforces credentials; each test keeps to names of its own."""
    server = start_moto(tmp_path_factory.mktemp("moto"))
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the proxies and agent settings of the machine that runs the tests out of them."""
    for name in list(os.environ):
        if name.upper() in PROXY_VARIABLES or name.startswith("CLOUD_AGENT__"):
            monkeypatch.delenv(name)
