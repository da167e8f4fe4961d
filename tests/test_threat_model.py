"""docs/threat-model.md names, for each row that holds, code and attacks that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOLDING = {1, *range(3, 11), 12, 13, *range(15, 22), *range(25, 30), 32, 33, 37, 38}
ROW = re.compile(r"^\| (\d+) \|[^|]+\|([^|]+)\|([^|]+)\|$", re.MULTILINE)
CODE = re.compile(r"`(agent/[\w/]+\.py)`")
ATTACK = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")

ROWS = {
    int(number): (CODE.findall(defence), ATTACK.findall(attacks))
    for number, defence, attacks in ROW.findall((ROOT / "docs/threat-model.md").read_text())
}


def test_every_row_that_has_to_hold_is_there():
    assert set(ROWS) == HOLDING


@pytest.mark.parametrize("row", sorted(HOLDING))
def test_a_row_names_code_and_attacks_that_exist(row: int):
    code, attacks = ROWS[row]

    assert code
    assert attacks
    assert [] == [path for path in code if not (ROOT / path).is_file()]
    assert [] == [f"{path}::{name}" for path, name in attacks if name not in collected_from(path)]


def collected_from(path: str) -> set[str]:
    """Names of the tests and classes of tests that pytest would collect from a file."""
    nodes = ast.walk(ast.parse((ROOT / path).read_text())) if (ROOT / path).is_file() else ()
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    names = {node.name for node in nodes if isinstance(node, definitions)}
    return {name for name in names if name.startswith(("test_", "Test"))}
