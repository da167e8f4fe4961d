"""A run of a real MLflow server, beside the store that reads its artifacts."""

from base64 import b64encode

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import ArtifactStore
from agent.artifacts.mlflow.store import MlflowArtifactStore
from agent.connectors.base import Connector
from agent.credentials import HttpCredentials
from agent.secret import Secret
from agent.testing.artifact_stores import BLOCK, below
from agent.testing.connectors import EmptyConnector, GivenConnector
from tests.artifacts.places import closed_port
from tests.servers.mlflow import Mlflow


class MlflowPlace:
    """The proxied artifacts of a run of its own."""

    def __init__(self, server: Mlflow) -> None:
        self.run = server.run()
        self.root = ArtifactUri.parse(f"mlflow://lab/runs/{self.run.id}")
        self.connector = GivenConnector(mlflow_credentials(server.endpoint_url))
        self.store = self._read_by(self.connector)
        self._server = server

    def put(self, path: str, data: bytes) -> ArtifactUri:
        self._server.put(self.run.artifact_uri, path, data)
        return below(self.root, path)

    def refused(self) -> ArtifactStore:
        wrong = mlflow_credentials(self._server.endpoint_url, password=Secret("not-the-right-one"))
        return self._read_by(GivenConnector(wrong))

    def unreachable(self) -> ArtifactStore:
        nowhere = mlflow_credentials(f"http://127.0.0.1:{closed_port()}")
        return self._read_by(GivenConnector(nowhere))

    def without_credentials(self) -> ArtifactStore:
        return self._read_by(EmptyConnector(HttpCredentials))

    def _read_by(self, connector: Connector[HttpCredentials]) -> MlflowArtifactStore:
        return MlflowArtifactStore("place", self.root, connector, block_bytes=lambda: BLOCK)


def mlflow_credentials(endpoint_url: str, *, password: Secret = Mlflow.password) -> HttpCredentials:
    pair = b64encode(f"{Mlflow.user}:{password.reveal()}".encode()).decode()
    return HttpCredentials(Secret(f"Basic {pair}"), endpoint_url)
