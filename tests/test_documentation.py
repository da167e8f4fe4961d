"""What the pages and examples say is what the programs do."""

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram

from agent.artifacts.open import FACTORIES, open_artifact_stores
from agent.cli import main
from agent.config.keys import schema
from agent.config.load import load
from agent.connectors.open import open_connectors
from agent.errors import Reason
from agent.link import ending
from agent.parts import readable_by
from agent.protocol.close_reasons import CLOSE_POLICIES
from agent.secrets.open import open_secret_stores
from agent.telemetry import metrics
from docs.render_configuration import page
from tests.servers.processes import free_port

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
OPERATIONS = ROOT / "docs" / "operations.md"
STORES = ROOT / "docs" / "stores.md"
EXAMPLE = ROOT / "examples" / "agent.yaml"
UNIT = ROOT / "examples" / "cloud-agent.service"
ALERTS = ROOT / "examples" / "alerts.yaml"
PAGES = [README, OPERATIONS, STORES, ROOT / "docs" / "configuration.md", ROOT / "CHANGELOG.md"]

# Where docs/stores.md explains the parts of each type.
CHAPTERS = {
    "aws": "AWS and S3-compatible",
    "aws-secrets-manager": "AWS and S3-compatible",
    "aws-parameter-store": "AWS and S3-compatible",
    "gcp": "Google Cloud",
    "gcp-secret-manager": "Google Cloud",
    "azure": "Azure",
    "azure-key-vault": "Azure",
    "kubernetes": "Kubernetes and registries",
    "docker": "Kubernetes and registries",
    "vault": "Vault and OpenBao",
    "file": "Files and environment",
    "env": "Files and environment",
    "http": "HTTP and MLflow",
    "zenml": "ZenML",
}


def blocks(file: Path, language: str) -> list[str]:
    """Return the fenced blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", file.read_text(), re.DOTALL | re.MULTILINE)


def chapter(file: Path, heading: str) -> str:
    """Return what stands below *heading*."""
    _, _, below = file.read_text().partition(f"\n## {heading}\n")
    return below.partition("\n## ")[0]


def first_cells(file: Path, heading: str) -> list[str]:
    """Return the literals in the first column of the tables below *heading*."""
    rows = re.findall(r"^\| (.*?) \|", chapter(file, heading), re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def anchors(file: Path) -> set[str]:
    """Return what links may name behind a number sign, made of headings as GitHub does."""
    headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def parts_of_logins() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield type and schema of each kind of secret store and connector, and of Vault's logins."""
    for section in ("secret_stores", "connectors"):
        [named] = schema()["properties"][section]["patternProperties"].values()
        for kind, reference in named["discriminator"]["mapping"].items():
            yield kind, schema()["$defs"][reference.rpartition("/")[2]]
    for name, part in schema()["$defs"].items():
        if name.startswith("Vault") and "method" in part["properties"]:
            yield "vault", part


def words_of_logins() -> Iterator[tuple[str, str]]:
    """Yield a type with each word that its keys *type*, *method* and *resource_type* may be."""
    for kind, part in parts_of_logins():
        for key in {"type", "method", "resource_type"} & part["properties"].keys():
            one = part["properties"][key]
            for word in one.get("enum", [one.get("const")]):
                yield kind, word


def open_all(file: Path) -> None:
    """Build the stores and connectors that *file* configures; asks nobody."""
    settings = load(file, environ={}).settings
    secrets = open_secret_stores(settings.secret_stores, on_secret=lambda _: None)
    readable = readable_by(settings.artifact_stores)
    connectors = open_connectors(settings.connectors, secrets, readable=readable)
    open_artifact_stores(settings.artifact_stores, connectors, block_bytes=lambda: 65536)


def metric_names() -> set[str]:
    """Return the metrics as Prometheus names them."""
    found = (m for m in vars(metrics).values() if isinstance(m, Counter | Gauge | Histogram))
    families = (family for metric in found for family in metric.describe())
    return {f.name + ("_total" if f.type == "counter" else "") for f in families}


def logged_events() -> Iterator[str]:
    """Yield the event of every call of a logger in the agent."""
    for file in (ROOT / "agent").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name("log")), args=[ast.Constant(name)]):
                    yield name
                case ast.Call(func=ast.Name("level"), args=[ast.Constant(name)]):
                    yield name
    yield "exception.uncaught"


class TestConfigurationPage:
    def test_is_current(self) -> None:
        """`python -m docs.render_configuration > docs/configuration.md` would change nothing."""
        assert (ROOT / "docs" / "configuration.md").read_text() == page()


class TestExample:
    def test_is_valid(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["config", "show", "-c", str(EXAMPLE)]) == 0
        assert "prod-eu" in capsys.readouterr().out

    def test_all_that_it_names_fits_together(self) -> None:
        open_all(EXAMPLE)

    def test_shows_every_setting(self) -> None:
        text = EXAMPLE.read_text()
        parts = [part for part in schema()["$defs"].values() if "properties" in part]
        keys = {key for part in (schema(), *parts) for key in part["properties"]}
        assert [key for key in sorted(keys) if not re.search(rf"\b{key}:", text)] == []


class TestPages:
    @pytest.mark.parametrize("file", [README, OPERATIONS, STORES], ids=lambda file: file.name)
    def test_configuration_in_them_is_valid(self, file: Path, tmp_path: Path) -> None:
        """Each block is a part of an agent's configuration, whose parts can be built."""
        for number, block in enumerate(blocks(file, "yaml")):
            part = tmp_path / f"{number}.yaml"
            part.write_text(block)
            open_all(part)

    @pytest.mark.parametrize("file", [README, OPERATIONS, STORES], ids=lambda file: file.name)
    def test_commands_in_them_are_those_of_a_shell(self, file: Path) -> None:
        found = blocks(file, "sh")
        read = [subprocess.run(["bash", "-n"], input=block, text=True) for block in found]
        assert [block for block, shell in zip(found, read, strict=True) if shell.returncode] == []

    @pytest.mark.parametrize("file", [OPERATIONS, STORES], ids=lambda file: file.name)
    def test_json_in_them_is_json(self, file: Path) -> None:
        for block in blocks(file, "json"):
            json.loads(block)

    @pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
    def test_links_lead_somewhere(self, file: Path) -> None:
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read_text())
        assert [link for link in links if not (file.parent / link).exists()] == []

    @pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
    def test_links_into_pages_lead_to_a_heading(self, file: Path) -> None:
        links = re.findall(r"\]\(([^):#]*)#([^)]+)\)", file.read_text())
        named = [(file.parent / page if page else file, anchor) for page, anchor in links]
        assert [anchor for page, anchor in named if anchor not in anchors(page)] == []

    @pytest.mark.parametrize(("kind", "word"), sorted(set(words_of_logins())))
    def test_every_way_to_log_in_is_explained(self, kind: str, word: str) -> None:
        """So is every type, and what a connector's credentials can be for."""
        assert f"`{word}`" in chapter(STORES, CHAPTERS[kind])

    @pytest.mark.parametrize("scheme", FACTORIES)
    def test_every_scheme_is_shown(self, scheme: str) -> None:
        assert f"{scheme}://" in STORES.read_text()

    def test_every_reason_is_explained(self) -> None:
        assert sorted(first_cells(OPERATIONS, "Reasons")) == sorted(Reason)

    def test_every_metric_is_explained(self) -> None:
        named = [cell.partition("{")[0] for cell in first_cells(OPERATIONS, "Metrics")]
        assert sorted(named) == sorted(metric_names())

    def test_every_log_event_is_explained(self) -> None:
        assert sorted(first_cells(OPERATIONS, "Log events")) == sorted(set(logged_events()))

    def test_every_refusal_of_the_link_is_explained(self) -> None:
        explained = first_cells(OPERATIONS, "When the link is down")
        assert [name for name in (*CLOSE_POLICIES, *ending.ADVICE) if name not in explained] == []


class TestAlerts:
    def test_are_rules_on_metrics_that_exist(self) -> None:
        text = ALERTS.read_text()
        assert yaml.safe_load(text)["groups"][0]["rules"]
        assert set(re.findall(r"cloud_agent_\w+", text)) <= metric_names()


class TestUnit:
    @pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
    def test_is_a_unit(self, tmp_path: Path) -> None:
        """Only the program, which need not be installed here, is another."""
        unit = tmp_path / UNIT.name
        unit.write_text(UNIT.read_text().replace("/opt/cloud-agent/bin/cloud-agent", "/bin/true"))
        verified = subprocess.run(
            ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
        )
        assert (verified.returncode, verified.stderr) == (0, "")

    def test_lets_pipelines_outlive_the_agent(self) -> None:
        assert "\nKillMode=process\n" in UNIT.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="runs of pipelines need Linux")
@pytest.mark.timeout(150)
class TestQuickStart:
    def test_does_what_the_readme_says(self, tmp_path: Path) -> None:
        """Every command but the installation, in one shell."""
        port = f":{free_port()}"
        real = {"/tmp/try": str(tmp_path), ":8080": port, ":9464": f":{free_port()}"}
        written = "".join(blocks(README, "sh")[1:])
        script = re.sub("|".join(real), lambda found: real[found[0]], written)
        said = said_by_shell(script, CONTROL_PLANE_STUB_URL=f"http://127.0.0.1{port}")
        assert "hello from behind the firewall" in said
        assert "\n1\n2\n3\n4\n5\n" in said
        assert "exit code 3" in said
        assert "lines are as they were written" in said


def said_by_shell(script: str, **variables: str) -> str:
    """Return what *script* prints; what it leaves running is ended."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen(
        ["bash", "-ec", f"trap 'kill $(jobs -p); wait' EXIT\n{script}"],
        env={**os.environ, **variables, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            return shell.communicate(timeout=120)[0]
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            raise
