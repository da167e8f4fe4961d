"""Everything that the measurements share: an origin with two files, and worlds around it.

What is measured, and how, stands in the other files.
"""

import json
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.clients import Download
from demo.world import AGENT, ROOT, World
from tests.servers.nginx import Origin, nginx
from tests.servers.tls import CertificateAuthority

PROBE = "s3://probe/objects"
SMALL_BYTES = 16 * 1024
MIB = 1024 * 1024
MANY = 64
"""Transfers that are asked for at once."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the measurements take place."""

    directory: Path
    origin: Origin
    large_bytes: int
    agent_python: str

    def direct(self, name: str) -> Download:
        """Return the download that takes a file from the origin itself."""
        return Download(f"{self.origin.url}/artifacts/prod/{name}", {})


class BenchWorld(World):
    """A world whose objects lie in the stage's origin, and whose frames nobody records.

    With *upload* large content goes by HTTP, else all of it goes over the link.
    """

    def __init__(
        self, stage: Stage, name: str, *, probe_url: str | None = None, upload: bool = False
    ) -> None:
        directory = stage.directory / name
        directory.mkdir()
        super().__init__(directory, record_frames=False, agent_python=stage.agent_python)
        self.stage = stage
        self.probe_url = probe_url
        self.upload = upload
        self.ca_file: Path | None = None

    @property
    def consumer_url(self) -> str:
        """Where consumers ask."""
        return self.url if self.ca_file is None else self.url.replace("http:", "https:")

    def start(self, *options: str) -> None:
        """Start all of it; the agent is ready then."""
        self.start_stores()
        assert self.s3 is not None
        # The origin takes its place, and this machine has few cores.
        self.s3.stop()
        self.start_plane(*options)
        self.enroll_later()
        self.write_config()
        self.start_agent()

    def config(self) -> dict[str, Any]:
        """Return the agent's configuration, with the origin as its S3 store."""
        config = super().config()
        if not self.upload:
            config["control_plane"]["upload_from"] = None
        s3 = config["connectors"]["ml-s3"]
        s3["endpoint_url"] = self.stage.origin.url
        if self.probe_url is not None:
            config["connectors"]["probe-s3"] = {**s3, "endpoint_url": self.probe_url}
            store = {"name": "probe", "uri": PROBE, "connector": "probe-s3"}
            config["artifact_stores"].append(store)
            rule = {"allow": ["fetch-artifact"], "artifacts": [f"{PROBE}/**"]}
            config["policy"]["rules"].append(rule)
        return config

    def secure(self) -> None:
        """Go on with TLS between all parts."""
        authority = CertificateAuthority(self.directory)
        cert_file, key_file = authority.issue("plane")
        assert self.agent is not None
        assert self.plane is not None
        self.agent.stop()
        self.plane.stop()
        self.start_plane("--tls-cert", str(cert_file), "--tls-key", str(key_file))
        self.write_config(
            control_plane={
                "url": f"wss://127.0.0.1:{self.port}/agent/v1/connect",
                "ca_file": str(authority.ca_file),
                "upload_from": "8MiB" if self.upload else None,
            },
        )
        self.ca_file = authority.ca_file
        self.start_agent()

    def fetch(self, name: str) -> Download:
        """Return the download that takes a file through the agent, stored nowhere."""
        body = json.dumps({"agent": AGENT, "uri": f"{ROOT}/{name}", "deadline_s": 600})
        return Download(f"{self.consumer_url}/api/v1/fetch", self._headers(), body, self.ca_file)

    def kept(self, name: str) -> Download:
        """Submit a job for a file that the control plane keeps; return its download."""
        job = self.submit(name, content="keep")
        return Download(f"{self.consumer_url}/api/v1/jobs/{job}/content", self._headers())

    def submit(self, name: str, *, content: str) -> str:
        """Submit a job for a file; return its id."""
        job = {
            "agent": AGENT, "kind": "fetch-artifact", "content": content,
            "parameters": {"uri": f"{ROOT}/{name}"},
        }  # fmt: skip
        return str(self.rest("/jobs", job)["id"])

    def restart_agent(self) -> float:
        """Start the agent anew; return the seconds until it was ready."""
        assert self.agent is not None
        self.agent.stop()
        started = time.monotonic()
        self.start_agent(wait=False)
        while not self.agent_is_ready():
            time.sleep(0.005)
        return time.monotonic() - started

    @property
    def agent_pid(self) -> int:
        assert self.agent is not None
        return self.agent.pid

    @property
    def plane_pid(self) -> int:
        assert self.plane is not None
        return self.plane.pid

    def _headers(self) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.api_token}",
            "Content-Type": "application/json",
        }


@contextmanager
def stage(
    directory: Path, *, large_mib: int, agent_python: str = sys.executable
) -> Iterator[Stage]:
    """Write the files into memory and serve them; everything else goes below *directory*.

    The state of agent and control plane belongs on a disk: in memory, every fsync would be free.
    """
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as files:
        prod = Path(files) / "artifacts" / "prod"
        prod.mkdir(parents=True)
        (prod / "small.bin").write_bytes(secrets.token_bytes(SMALL_BYTES))
        (prod / "medium.bin").write_bytes(secrets.token_bytes(large_mib * MIB // MANY))
        with (prod / "large.bin").open("wb") as large:
            for _ in range(large_mib):
                large.write(secrets.token_bytes(MIB))
        own = directory / "nginx"
        own.mkdir()
        with nginx(Path(files), own) as origin:
            yield Stage(directory, origin, large_mib * MIB, agent_python)


@contextmanager
def started(world: BenchWorld, *options: str) -> Iterator[BenchWorld]:
    """Start *world*, and stop it at the end."""
    with ExitStack() as cleaning:
        cleaning.callback(world.stop)
        world.start(*options)
        yield world
