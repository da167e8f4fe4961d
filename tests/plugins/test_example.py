"""A package of somebody else adds a store, a secret store, a connector and a kind of job."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import ArtifactStore
from agent.credentials import HttpCredentials
from agent.secret import Secret
from agent.secret_reference import SecretReference
from agent.secrets.resolver import OpenStore, SecretResolver
from agent.testing import artifact_stores, connectors, secret_stores
from agent.testing.connectors import EmptyConnector, GivenConnector
from tests.plugin_example.lunar.artifacts import CONTENTS, KEY, MemoryArtifactStore
from tests.plugin_example.lunar.connectors import MoonConnector
from tests.plugin_example.lunar.secrets import IniSecrets

EXAMPLE = Path(__file__).parent.parent / "plugin_example"
CONFIGURATION = """\
control_plane: {{url: "ws://127.0.0.1:9/agent/v1/connect"}}
agent: {{name: try, state_dir: {directory}/state}}
secret_stores:
  keys: {{type: ini, file: {directory}/keys.ini}}
connectors:
  apollo: {{type: moon, key: "secret://keys/moon#key"}}
artifact_stores:
  - {{name: moon, uri: "mem://moon/rocks", connector: apollo}}
policy:
  rules:
    - {{allow: [fetch-artifact, count-artifacts], artifacts: ["mem://moon/**"]}}
    - {{allow: [check-connector], connectors: [apollo]}}
"""


class MoonPlace:
    """A part of the memory of its own."""

    def __init__(self) -> None:
        self.root = ArtifactUri.parse(f"mem://moon/{uuid.uuid4().hex}")
        self.store = self._read_with(KEY)

    def put(self, path: str, data: bytes) -> ArtifactUri:
        uri = artifact_stores.below(self.root, path)
        CONTENTS[uri] = data
        return uri

    def refused(self) -> ArtifactStore:
        return self._read_with("another key")

    def unreachable(self) -> None:
        """It is here."""

    def without_credentials(self) -> ArtifactStore:
        connector = EmptyConnector(HttpCredentials)
        return MemoryArtifactStore("moon", self.root, connector, lambda: artifact_stores.BLOCK)

    def _read_with(self, key: str) -> ArtifactStore:
        connector = GivenConnector(HttpCredentials(Secret(key)))
        return MemoryArtifactStore("moon", self.root, connector, lambda: artifact_stores.BLOCK)


class TestArtifactStore(artifact_stores.ArtifactStoreContract):
    lists_times = False

    @pytest.fixture
    async def place(self) -> AsyncIterator[artifact_stores.Place]:
        place = MoonPlace()
        yield place
        for uri in [uri for uri in CONTENTS if uri.within(place.root)]:
            del CONTENTS[uri]


class TestSecretStore(secret_stores.SecretStoreContract):
    @pytest.fixture
    def case(self, tmp_path: Path) -> secret_stores.Case:
        file = tmp_path / "keys.ini"

        def put(value: str) -> None:
            file.write_text(f"[moon]\nkey = {value}\n")

        put(secret_stores.VALUE)
        return secret_stores.Case(
            IniSecrets(file), "moon", put, unreachable=IniSecrets(tmp_path / "missing")
        )


class TestConnector(connectors.ConnectorContract):
    @pytest.fixture
    def case(self, tmp_path: Path) -> connectors.Case:
        (tmp_path / "keys.ini").write_text(f"[moon]\nkey = {KEY}\n")
        store = OpenStore(IniSecrets(tmp_path / "keys.ini"), "ini", 60.0)
        seen: list[Secret] = []
        secrets = SecretResolver({"keys": store}, on_secret=seen.append, on_use=lambda _: None)
        reference = SecretReference(store="keys", path="moon", field="key")

        async def use(credentials: HttpCredentials) -> None:
            root = ArtifactUri.parse("mem://moon/rocks")
            store = MemoryArtifactStore("m", root, GivenConnector(credentials), lambda: 1024)
            await store.check()

        return connectors.Case(MoonConnector("apollo", reference, secrets), use, seen, "Moon")


@pytest.fixture(scope="module")
def cloud_agent(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[int, str, str]]:
    """Run the command with the example installed, as a customer has it."""
    site, directory = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("moon")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    source = directory / "source"
    subprocess.run(["cp", "-r", EXAMPLE, source], check=True)
    subprocess.run([*pip, "--target", site, source], check=True, capture_output=True)
    (directory / "keys.ini").write_text(f"[moon]\nkey = {KEY}\n")
    (directory / "agent.yaml").write_text(CONFIGURATION.format(directory=directory))

    def run(
        *arguments: str, job: dict[str, object] | None = None, **variables: str
    ) -> tuple[int, str, str]:
        argv = [sys.executable, "-m", "agent", *arguments, "-c", str(directory / "agent.yaml")]
        ran = subprocess.run(
            argv,
            input=json.dumps(job) if job else None,
            env={**os.environ, "PYTHONPATH": str(site)} | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.returncode, ran.stdout, ran.stderr

    return run


class TestInstalled:
    def test_its_settings_are_part_of_the_configuration(self, cloud_agent) -> None:
        code, out, err = cloud_agent("config", "show")

        assert (0, "") == (code, err)
        assert "keys.ini" in out

    def test_an_artifact_comes_through_all_three(self, cloud_agent) -> None:
        job = {"kind": "fetch-artifact", "parameters": {"uri": "mem://moon/rocks/basalt.txt"}}

        code, out, err = cloud_agent("exec", "-f", "-", job=job)

        assert (0, "grey") == (code, out), err
        assert KEY not in err

    def test_its_kind_of_job_is_decided_by_the_policy_and_run(self, cloud_agent) -> None:
        job = {"kind": "count-artifacts", "parameters": {"uri": "mem://moon/rocks"}}
        code, _, err = cloud_agent("exec", "-f", "-", job=job)
        denied = {"kind": "count-artifacts", "parameters": {"uri": "mem://sun/x"}}

        assert 0 == code
        assert {"count": 2} == json.loads(err.splitlines()[-1])["result"]
        assert 3 == cloud_agent("exec", "-f", "-", job=denied)[0]

    def test_check_looks_at_each(self, cloud_agent) -> None:
        _, out, _ = cloud_agent("check", "--json")

        rows = {row["what"]: row["status"] for row in json.loads(out)["rows"]}
        parts = ("secret store keys", "connector apollo", "artifact store moon")
        assert ["PASS"] * 3 == [rows[part] for part in parts]

    def test_a_mistake_in_its_settings_is_told_like_any_other(self, cloud_agent) -> None:
        code, _, err = cloud_agent("config", "show", CLOUD_AGENT__CONNECTORS__APOLLO__KEE="x")

        assert 2 == code
        assert "connectors.apollo.kee: unknown key" in err
        assert "Traceback" not in err

    def test_without_it_the_configuration_is_wrong(self, cloud_agent) -> None:
        code, _, err = cloud_agent("config", "show", PYTHONPATH="")

        assert 2 == code
        assert "connectors.apollo.type: should be one of 'aws'" in err
