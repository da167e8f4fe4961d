"""A whole world on this machine: S3, a vault, a control plane and an agent, each a real process."""

import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.servers.openbao import OpenBao, start_openbao
from tests.servers.processes import Server, free_port, spawn
from tests.servers.seaweedfs import READER, REGION, SeaweedFS, s3_client, start_seaweedfs
from tests.waiting import wait_until

AGENT = "prod-eu"
ROOT = f"s3://{SeaweedFS.bucket}/prod"
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}

_PIPELINE = """\
import os, sys, time
epochs = int(sys.argv[sys.argv.index("--epochs") + 1])
print("tracking token:", os.environ["TRACKING_TOKEN"], flush=True)
for epoch in range(1, epochs + 1):
    time.sleep(0.2)
    print(f"epoch {epoch} of {epochs}, loss {1 / (1 + epoch):.3f}", flush=True)
print("model written", flush=True)
"""


class World:
    """Starts the parts in order and stops them all; each keeps a log in *directory*.

    *agent_python* runs the agent; *record_frames* has the control plane write down what it gets.
    """

    def __init__(
        self, directory: Path, *, record_frames: bool = True, agent_python: str = sys.executable
    ) -> None:
        self.directory = directory
        self.record_frames = record_frames
        self.agent_python = agent_python
        self.tracking_token = secrets.token_urlsafe(24)
        self.port = free_port()
        self.health_port = free_port()
        self.plane_state = directory / "control-plane"
        self.agent_state = directory / "agent"
        self.config_file = directory / "agent.yaml"
        self.frames = directory / "frames.bin"
        self.s3: SeaweedFS | None = None
        self.vault: OpenBao | None = None
        self.plane: Server | None = None
        self.agent: Server | None = None
        self._secret_id = ""

    @property
    def url(self) -> str:
        """Address of the control plane."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def credentials(self) -> dict[str, str]:
        """Everything that the agent used to get in somewhere, by name."""
        return {
            "the S3 access key": READER.access_key_id,
            "the S3 secret key": READER.secret_access_key.reveal(),
            "the pipeline's tracking token": self.tracking_token,
            "the vault's secret id": self._secret_id,
        }

    def start_stores(self) -> None:
        """Start S3 and the vault, and put the customer's secrets where they belong."""
        self.s3 = start_seaweedfs(self.directory / "s3")
        self.vault = start_openbao(self.directory / "vault")
        admin = self.vault.client()
        admin.secrets.kv.v2.create_or_update_secret(
            path="ml/s3",
            secret={
                "access_key_id": READER.access_key_id,
                "secret_access_key": READER.secret_access_key.reveal(),
            },
        )
        admin.secrets.kv.v2.create_or_update_secret(
            path="ml/mlflow", secret={"token": self.tracking_token}
        )
        self._add_approle(admin)

    def start_plane(self, *options: str) -> None:
        """Start the control plane, or start it again."""
        if self.record_frames:
            options = ("--record-frames", str(self.frames), *options)
        self.plane = spawn(
            [
                sys.executable, "-m", "control_plane_stub", "serve",
                "--listen", f"127.0.0.1:{self.port}", "--state-dir", str(self.plane_state),
                *options,
            ],
            ready=self.port,
            log=self.directory / "control-plane.log",
            env={**os.environ, **ALLOCATOR},
        )  # fmt: skip

    def enroll_later(self) -> None:
        """Have a join token made, and its file ready for the agent's first start."""
        self.cli("join-token", "create", "--agent", AGENT, "-o", str(self.directory / "join-token"))

    def write_config(self, **changes: Mapping[str, Any]) -> None:
        """Write the agent's configuration; *changes* replace keys of its top-level parts."""
        config = self.config()
        for part, values in changes.items():
            config[part] = {**config.get(part, {}), **values}
        self.config_file.write_text(yaml.safe_dump(config, sort_keys=False))

    def config(self) -> dict[str, Any]:
        """Return the agent's configuration."""
        assert self.s3 is not None
        assert self.vault is not None
        pipeline = self.directory / "train.py"
        pipeline.write_text(_PIPELINE)
        return {
            "control_plane": {
                "url": f"ws://127.0.0.1:{self.port}/agent/v1/connect",
                "join_token_file": str(self.directory / "join-token"),
            },
            "agent": {"name": AGENT, "state_dir": str(self.agent_state)},
            "secret_stores": {
                "vault": {
                    "type": "vault",
                    "address": self.vault.address,
                    "auth": {
                        "method": "approle",
                        "role_id_file": str(self.directory / "role-id"),
                        "secret_id_file": str(self.directory / "secret-id"),
                    },
                }
            },
            "connectors": {
                "ml-s3": {
                    "type": "aws",
                    "method": "secret-key",
                    "region": REGION,
                    "endpoint_url": self.s3.endpoint_url,
                    "access_key_id": "secret://vault/ml/s3#access_key_id",
                    "secret_access_key": "secret://vault/ml/s3#secret_access_key",
                }
            },
            "artifact_stores": [{"name": "training", "uri": ROOT, "connector": "ml-s3"}],
            "pipelines": [
                {
                    "name": "train-churn",
                    "runner": "process",
                    "command": [sys.executable, str(pipeline), "--epochs", "{epochs}"],
                    "directory": str(self.directory),
                    "parameters": {
                        "epochs": {"type": "integer", "minimum": 1, "maximum": 50, "default": 3}
                    },
                    "environment": {"TRACKING_TOKEN": "secret://vault/ml/mlflow#token"},
                }
            ],
            "policy": {
                "rules": [
                    {"allow": ["fetch-artifact", "list-artifacts"], "artifacts": [f"{ROOT}/**"]},
                    {"allow": ["check-connector"], "connectors": ["ml-s3"]},
                    {
                        "allow": ["trigger-pipeline", "pipeline-status", "pipeline-logs",
                                  "stop-pipeline"],
                        "pipelines": ["train-*"],
                    },
                    {"deny": "*", "artifacts": ["**/pii/**"]},
                ]
            },
            "telemetry": {"listen": f"127.0.0.1:{self.health_port}"},
        }  # fmt: skip

    def start_agent(self, *, wait: bool = True) -> None:
        """Start the agent, or start it again; with *wait* until it is ready for jobs."""
        self.agent = spawn(
            self.agent_command("run"),
            ready=self.agent_is_ready if wait else _at_once,
            log=self.directory / "agent.log",
            env={**os.environ, **ALLOCATOR},
        )

    def agent_is_ready(self) -> bool:
        """Ask the agent's own health endpoint."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.health_port}/readyz", timeout=2
            ) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def put(self, key: str, content: bytes) -> str:
        """Store an object in the bucket; return its URI."""
        assert self.s3 is not None
        s3_client(self.s3.endpoint_url).put_object(
            Bucket=SeaweedFS.bucket, Key=f"prod/{key}", Body=content
        )
        return f"{ROOT}/{key}"

    def cli(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run the control plane's command line client, as a user would."""
        return subprocess.run(
            [
                sys.executable, "-m", "control_plane_stub", *arguments,
                "--server", self.url, "--state-dir", str(self.plane_state),
            ],
            check=check,
            capture_output=True,
            text=True,
            timeout=300,
        )  # fmt: skip

    def rest(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask the control plane's REST interface; return the JSON of the answer."""
        request = urllib.request.Request(
            f"{self.url}/api/v1{path}",
            data=json.dumps(body).encode() if body is not None else None,
            headers={
                "Authorization": f"Bearer {self.api_token}",
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def page(self, path: str) -> str:
        """Return what the control plane serves at *path*, as text."""
        headers = {"Authorization": f"Bearer {self.api_token}"}
        request = urllib.request.Request(f"{self.url}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(answer.read().decode())

    @property
    def api_token(self) -> str:
        """The control plane's own token for its REST interface."""
        return (self.plane_state / "api-token").read_text().strip()

    def ended(self, job: str, *, timeout: float = 60) -> Any:
        """Wait until *job* has ended; return it."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            view = self.rest(f"/jobs/{job}")
            if view["state"] not in ("queued", "requested", "running"):
                return view
            time.sleep(0.05)
        raise AssertionError(f"job {job} has not ended after {timeout} s: {view}")

    def until(self, condition: Callable[[], bool], *, timeout: float = 30) -> None:
        """Wait until *condition* holds."""
        wait_until(condition, timeout=timeout)

    def agent_metrics(self) -> str:
        """Return what Prometheus would scrape from the agent."""
        url = f"http://127.0.0.1:{self.health_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())

    def agent_connects(self) -> int:
        """Return how many connections of this process the control plane has welcomed and lost."""
        found = re.findall(r'link_connects_total{outcome="connected"} (\d+)', self.agent_metrics())
        return int(found[0]) if found else 0

    def agent_command(self, *arguments: str) -> list[str]:
        """Return the agent's command line with this world's configuration."""
        return [self.agent_python, "-m", "agent", *arguments, "-c", str(self.config_file)]

    def stop(self) -> None:
        """Stop everything, the agent first; idempotent."""
        for server in (self.agent, self.plane):
            if server is not None:
                server.stop()
        for store in (self.vault, self.s3):
            if store is not None:
                store.stop()

    def _add_approle(self, admin: Any) -> None:
        admin.sys.enable_auth_method("approle")
        admin.sys.create_or_update_policy(
            "ml-reader", 'path "secret/data/ml/*" { capabilities = ["read"] }'
        )
        admin.auth.approle.create_or_update_approle(
            "cloud-agent", token_policies=["ml-reader"], token_ttl="1h"
        )
        role = admin.auth.approle.read_role_id("cloud-agent")["data"]["role_id"]
        self._secret_id = admin.auth.approle.generate_secret_id("cloud-agent")["data"]["secret_id"]
        for name, value in (("role-id", role), ("secret-id", self._secret_id)):
            path = self.directory / name
            path.write_text(value)
            path.chmod(0o600)


def _at_once() -> bool:
    return True
