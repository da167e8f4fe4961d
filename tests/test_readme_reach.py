"""What the README says is reached, and how one logs in there, is what the contract tests run."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from agent.artifacts.open import FACTORIES as STORES
from agent.config import clouds
from agent.config import connectors as connector_settings
from agent.config import secret_stores as secret_settings
from agent.connectors.open import FACTORIES as CONNECTORS
from agent.secrets.open import FACTORIES as SECRETS

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "tests" / "contracts"
SECTION = (
    (ROOT / "README.md").read_text().partition("\n## What it reaches\n")[2].partition("\n## ")[0]
)
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in SECTION.splitlines()
    if line.startswith("| `")
]


def ids(cell: str) -> list[str]:
    """The test ids of a cell, from the root of the repository."""
    found = re.findall(r"`([\w./]+\.py::\w+)`", cell)
    return [str((CONTRACTS / one).resolve().relative_to(ROOT)) for one in found]


def methods(cell: str) -> list[str]:
    return re.findall(r"`\[([^\]]+)\]`", cell)


@pytest.fixture(scope="module")
def collected() -> set[str]:
    """Every test that the classes of the tables have, as pytest names it."""
    files = sorted({one.partition("::")[0] for row in ROWS for one in ids(row[1])})
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *files],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-2000:]
    return set(ran.stdout.splitlines())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_row_names_tests_that_there_are(row: list[str], collected: set[str]) -> None:
    assert ids(row[1])
    for one in ids(row[1]):
        assert any(test.startswith(f"{one}::") for test in collected), one


@pytest.mark.parametrize("row", [row for row in ROWS if len(row) > 2], ids=lambda row: row[0])
def test_every_method_is_one_that_its_class_is_run_with(
    row: list[str], collected: set[str]
) -> None:
    for method in methods(row[2]):
        assert any(
            test.startswith(f"{one}::") and test.endswith((f"[{method}]", f"-{method}]"))
            for one in ids(row[1])
            for test in collected
        ), method
    assert methods(row[2]) or re.search(r"those of `\w+`", row[2])


def _types(union: Any) -> Iterator[str]:
    for part in get_args(get_args(union)[0]):
        yield get_args(part.model_fields["type"].annotation)[0]


def test_nothing_that_can_be_configured_is_left_out() -> None:
    named = {name for row in ROWS for name in re.findall(r"`([\w-]+)(?:://)?`", row[0])}

    assert {*STORES, *CONNECTORS, *SECRETS} - {"http"} <= named
    assert set(_types(connector_settings.Connector)) == set(CONNECTORS)
    assert set(_types(secret_settings.SecretStore)) == set(SECRETS)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("aws", clouds.AwsLogin),
        ("gcp", clouds.GcpLogin),
        ("azure", clouds.AzureLogin),
        ("kubernetes", clouds.KubernetesLogin),
        ("http", connector_settings.HttpConnector),
        ("zenml", connector_settings.ZenmlConnector),
    ],
)
def test_no_login_method_is_left_out(name: str, part: Any) -> None:
    (row,) = [row for row in ROWS if row[0].startswith(f"`{name}`") and "those of" not in row[2]]
    possible = get_args(part.model_fields["method"].annotation)

    shown = f"{row[1]} {row[2]}"
    assert [] == [method for method in possible if not re.search(rf"\b{method}\b", shown)]
