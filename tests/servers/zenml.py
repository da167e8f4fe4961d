"""A real ZenML server on the customer's side, with the artifacts of one pipeline run in S3."""

import json
import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import requests

from agent.secret import Secret
from tests.servers.processes import Server, free_port, spawn
from tests.servers.seaweedfs import ADMIN, BUCKET, SeaweedFS
from tests.servers.venvs import server_venv

STORY = Path(__file__).with_name("zenml_story.py")
USER = "default"


@dataclass(frozen=True)
class Zenml:
    """A running server. *versions* holds the ids of artifact versions by the artifact's name."""

    server: Server
    url: str
    password: Secret
    api_key: Secret
    place: str
    versions: dict[str, str]
    connector: str
    project: str

    def stop(self) -> None:
        """End the server; idempotent."""
        self.server.stop()

    def session(self) -> requests.Session:
        """Return a session that is logged in as the user."""
        session = requests.Session()
        form = {"username": USER, "password": self.password.reveal()}
        token = session.post(f"{self.url}/api/v1/login", data=form).json()["access_token"]
        session.headers["Authorization"] = f"Bearer {token}"
        return session


def start_zenml(directory: Path, store: SeaweedFS, *, prefix: str = "zenml") -> Zenml:
    """Start a server with a state of its own below *directory*, and run the story's pipeline.

    Takes half a minute: ZenML makes its database anew.
    """
    port, password = free_port(), Secret(secrets.token_hex(8))
    url = f"http://127.0.0.1:{port}"
    directory.mkdir(parents=True, exist_ok=True)
    python = server_venv("zenml") / "bin" / "python"
    server = spawn(
        [python, "-m", "uvicorn", "zenml.zen_server.zen_server_api:app", "--host", "127.0.0.1",
         "--port", str(port), "--no-server-header"],
        ready=lambda: _is_ready(url),
        log=directory / "server.log",
        env=_environment(directory / "server") | {
            "ZENML_SERVER": "true",
            "ZENML_LOCAL_STORES_PATH": str(directory / "server"),
            "ZENML_STORE_TYPE": "sql",
            "ZENML_STORE_URL": f"sqlite:///{directory}/zenml.db",
            "ZENML_DEFAULT_USER_NAME": USER,
            "ZENML_DEFAULT_USER_PASSWORD": password.reveal(),
            "ZENML_SERVER_AUTO_ACTIVATE": "true",
            "ZENML_SERVER_SERVER_URL": url,
            "ZENML_SERVER_JWT_SECRET_KEY": secrets.token_hex(32),
            "ZENML_SERVER_DISPLAY_ANNOUNCEMENTS": "false",
            "ZENML_SERVER_DISPLAY_UPDATES": "false",
        },
        deadline=120.0,
    )  # fmt: skip
    place = f"s3://{BUCKET}/{prefix}"
    try:
        told = _tell_story(python, directory / "client", url, password, store, place)
    except BaseException:
        server.stop()
        raise
    api_key = Secret(told.pop("api_key"))
    return Zenml(server, url, password, api_key, place, **told)


def _tell_story(
    python: Path, directory: Path, url: str, password: Secret, store: SeaweedFS, place: str
) -> dict:
    directory.mkdir()
    # In a folder of its own: here, this very file would be taken for the library.
    shutil.copy(STORY, directory / "story.py")
    form = {"username": USER, "password": password.reveal()}
    token = requests.post(f"{url}/api/v1/login", data=form, timeout=30).json()["access_token"]
    ran = subprocess.run(
        [python, "story.py"],
        cwd=directory,
        env=_environment(directory) | {
            "ZENML_STORE_TYPE": "rest",
            "ZENML_STORE_URL": url,
            "ZENML_STORE_API_TOKEN": token,
            "STORY_KEY_ID": ADMIN.access_key_id,
            "STORY_SECRET": ADMIN.secret_access_key.reveal(),
            "STORY_S3": store.endpoint_url,
            "STORY_PLACE": place,
            "AWS_DEFAULT_REGION": store.region,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )  # fmt: skip
    lines = [line for line in ran.stdout.splitlines() if line.startswith("STORY ")]
    assert lines, f"the story failed:\n{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}"
    return json.loads(lines[0].removeprefix("STORY "))


def _environment(directory: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "ZENML_CONFIG_PATH": str(directory),
        "ZENML_ANALYTICS_OPT_IN": "false",
        "ZENML_LOGGING_COLORS_DISABLED": "true",
        "MPLBACKEND": "agg",
    }


def _is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/ready", timeout=2).ok
    except requests.RequestException:
        return False
