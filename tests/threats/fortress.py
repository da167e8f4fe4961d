"""A world whose customer has more to lose: stores that fail in every way, pipelines that talk."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from demo.world import AGENT, World
from tests.servers.processes import free_port
from tests.servers.seaweedfs import READER, SeaweedFS, s3_client

BUCKET = f"s3://{SeaweedFS.bucket}"
WRONG_SECRET = "canary-of-a-key-that-s3-refuses"
PAYROLL_SECRET = "canary-that-the-vault-keeps-from-the-agent"
BROKEN = ("wrong-key", "no-secret", "vault-refuses", "s3-is-down")
"""Names of connectors and, as ``s3://artifacts/NAME``, of the stores that they break."""

_TALKATIVE = """\
import os, sys
print("arguments", sys.argv[1:])
for name, value in os.environ.items():
    print("environment", name, value)
with open(os.environ["COUNT_FILE"], "a") as file:
    file.write(os.environ["CLOUD_AGENT_RUN_ID"] + "\\n")
"""
_LASTING = "import time; print('begun', flush=True); time.sleep(60)"


class Fortress(World):
    """Like `World`; everything an attack could want to reach stands in its configuration."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.files = directory / "files"
        self.counted = directory / "counted"

    def start_stores(self) -> None:
        super().start_stores()
        self.files.mkdir()
        assert self.vault is not None
        versions = self.vault.client().secrets.kv.v2
        wrong = {"access_key_id": READER.access_key_id, "secret_access_key": WRONG_SECRET}
        versions.create_or_update_secret(path="ml/wrong-key", secret=wrong)
        payroll = {"access_key_id": "payroll", "secret_access_key": PAYROLL_SECRET}
        versions.create_or_update_secret(path="payroll/vault-refuses", secret=payroll)

    def config(self) -> dict[str, Any]:
        config = super().config()
        config["control_plane"]["backoff"] = {
            "first": "100ms", "longest": "500ms", "stable_after": "1s",
        }  # fmt: skip
        config["connectors"] |= self._broken_connectors(config["connectors"]["ml-s3"])
        config["artifact_stores"] += [
            *({"name": name, "uri": f"{BUCKET}/{name}", "connector": name} for name in BROKEN),
            {"name": "files", "uri": self.files.as_uri()},
            {"name": "hidden", "uri": f"{BUCKET}/hidden", "connector": "ml-s3"},
        ]
        config["pipelines"] += self._pipelines()
        everywhere = [f"{BUCKET}/{name}/**" for name in (*BROKEN, "prod")]
        config["policy"]["rules"][0]["artifacts"] = [*everywhere, f"{self.files.as_uri()}/**"]
        config["policy"]["rules"][1]["connectors"] += BROKEN
        config["policy"]["rules"].append({"allow": ["check-connector"], "artifacts": everywhere})
        return config

    def agent_command(self, *arguments: str) -> list[str]:
        return without_capabilities(*super().agent_command(*arguments))

    def submit(self, kind: str, **parameters: Any) -> Any:
        """Have the agent do a job; return it as it ended."""
        job = {"agent": AGENT, "kind": kind, "parameters": parameters}
        return self.ended(self.rest("/jobs", job)["id"])

    def restart_agent(self, **changes: Any) -> None:
        """End the agent and start it with the configuration and *changes*; its log goes on."""
        if self.agent is not None:
            self.agent.stop()
        self.write_config(**changes)
        self.start_agent()

    def put_beside(self, bucket: str, key: str, **more: Any) -> str:
        """Store an object anywhere in S3; return its URI."""
        assert self.s3 is not None
        s3_client(self.s3.endpoint_url).put_object(Bucket=bucket, Key=key, Body=b"x", **more)
        return f"s3://{bucket}/{key}"

    def audited(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of the audit log about *event*."""
        lines = (self.agent_state / "audit.jsonl").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["event"] == event]

    def agent_memory(self) -> int:
        """Return the resident bytes of the agent."""
        assert self.agent is not None
        status = Path(f"/proc/{self.agent.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def log_bytes(self) -> bytes:
        """Return the agent's log."""
        return (self.directory / "agent.log").read_bytes()

    def runs_of(self, job: str) -> int:
        """Return how often the counting pipeline ran as *job*."""
        return self.counted.read_text().split().count(job) if self.counted.exists() else 0

    def _broken_connectors(self, working: dict[str, Any]) -> dict[str, Any]:
        def with_secret(path: str) -> dict[str, Any]:
            fields = ("access_key_id", "secret_access_key")
            return {**working, **{field: f"secret://vault/{path}#{field}" for field in fields}}

        return {
            "wrong-key": with_secret("ml/wrong-key"),
            "no-secret": with_secret("ml/no-secret"),
            "vault-refuses": with_secret("payroll/vault-refuses"),
            "s3-is-down": {**working, "endpoint_url": f"http://127.0.0.1:{free_port()}"},
        }

    def _pipelines(self) -> list[dict[str, Any]]:
        secret = {"TRACKING_TOKEN": "secret://vault/ml/mlflow#token"}
        talkative = {
            "runner": "process",
            "command": [sys.executable, "-I", "-c", _TALKATIVE, "{note}"],
            "parameters": {"note": {"type": "string", "default": "none"}},
            "environment": {**secret, "COUNT_FILE": str(self.counted)},
        }
        lasting = {"runner": "process", "command": [sys.executable, "-I", "-c", _LASTING]}
        return [
            {"name": "train-talkative", **talkative},
            {"name": "train-lasting", **lasting, "environment": secret, "stop_grace": "1s"},
            {"name": "payroll", **talkative},
        ]


def without_capabilities(*argv: str) -> list[str]:
    """Return a command for the same user without the right of root to look into every process."""
    if os.geteuid():
        return [*argv]
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *argv]
