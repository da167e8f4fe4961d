"""A real MLflow tracking server that asks for a password and keeps its artifacts in S3."""

import itertools
import json
import os
import urllib.request
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.secret import Secret
from tests.servers.processes import Server, free_port, spawn
from tests.servers.seaweedfs import ADMIN, BUCKET, REGION, SeaweedFS, s3_client
from tests.servers.venvs import server_venv

START_DEADLINE = 120.0
USER = "admin"
PASSWORD = Secret("admin-of-the-test-mlflow")
_PREFIX = "mlflow"
_AUTH = """\
[mlflow]
default_permission = READ
database_uri = sqlite:///{directory}/auth.db
admin_username = {user}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 600
"""


@dataclass(frozen=True)
class Run:
    """A run or logged model, and the root of its artifacts in MLflow's words."""

    id: str
    artifact_uri: str


class Mlflow:
    """One running server; artifacts of experiments without a location of their own are proxied."""

    user = USER
    password = PASSWORD

    def __init__(self, server: Server, port: int, s3: SeaweedFS) -> None:
        self.server = server
        self.port = port
        self._s3 = s3_client(s3.endpoint_url)
        self.endpoint_url = f"http://127.0.0.1:{port}"
        self._numbers = itertools.count(1)

    def stop(self) -> None:
        """End the server, gently first."""
        self.server.stop()
        self._s3.close()

    def run(self, artifact_location: str | None = None) -> Run:
        """Begin a run in an experiment of its own, with its artifacts below *artifact_location*."""
        place = {"artifact_location": artifact_location} if artifact_location else {}
        experiment = self._experiment(**place)
        info = self.post("runs/create", experiment_id=experiment)["run"]["info"]
        return Run(info["run_id"], info["artifact_uri"])

    def logged_model(self) -> Run:
        """Make a logged model in an experiment of its own."""
        experiment = self._experiment()
        info = self.post("logged-models", experiment_id=experiment, name="it")["model"]["info"]
        return Run(info["model_id"], info["artifact_uri"])

    def put(self, artifact_uri: str, path: str, data: bytes) -> None:
        """Store *data* at *path* below a root, where MLflow keeps it: no name is read anew."""
        place = artifact_uri.replace("mlflow-artifacts:/", f"s3://{BUCKET}/{_PREFIX}/")
        bucket, _, root = place.removeprefix("s3://").partition("/")
        self._s3.put_object(Bucket=bucket, Key=f"{root}/{path}", Body=data)

    def version(self, model: str, source: str, **more: str) -> str:
        """Make the next version of *model* of what is at *source*, and return its number."""
        made = self.post("model-versions/create", name=model, source=source, **more)
        return str(made["model_version"]["version"])

    def post(self, what: str, **values: str) -> Any:
        """Ask MLflow's REST API."""
        login = b64encode(f"{USER}:{PASSWORD.reveal()}".encode()).decode()
        request = urllib.request.Request(
            f"{self.endpoint_url}/api/2.0/mlflow/{what}",
            data=json.dumps(values).encode(),
            headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def _experiment(self, **more: str) -> str:
        name = f"experiment {next(self._numbers)}"
        return str(self.post("experiments/create", name=name, **more)["experiment_id"])


def start_mlflow(directory: Path, s3: SeaweedFS) -> Mlflow:
    """Start a server that keeps its database in *directory*; wait until it answers."""
    port = free_port()
    directory.mkdir(parents=True)
    (directory / "auth.ini").write_text(_AUTH.format(directory=directory, user=USER))
    server = spawn(
        [
            server_venv("mlflow") / "bin" / "mlflow", "server", "--app-name", "basic-auth",
            "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{directory}/mlflow.db",
            "--serve-artifacts", "--artifacts-destination", f"s3://{BUCKET}/{_PREFIX}",
        ],
        ready=lambda: _healthy(f"http://127.0.0.1:{port}"),
        log=directory / "mlflow.log",
        env=_environment(directory, s3),
        cwd=directory,
        deadline=START_DEADLINE,
    )  # fmt: skip
    return Mlflow(server, port, s3)


def _environment(directory: Path, s3: SeaweedFS) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(directory),
        "MLFLOW_S3_ENDPOINT_URL": s3.endpoint_url,
        "AWS_ACCESS_KEY_ID": ADMIN.access_key_id,
        "AWS_SECRET_ACCESS_KEY": ADMIN.secret_access_key.reveal(),
        "AWS_DEFAULT_REGION": REGION,
        "MLFLOW_AUTH_CONFIG_PATH": str(directory / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD.reveal(),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of-the-test-server",
        # Without them it starts seven more processes, and tells its makers about it.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def _healthy(endpoint_url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{endpoint_url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
