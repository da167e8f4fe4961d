"""What a YAML file may not do."""

from contextlib import nullcontext, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.document import MAX_FILE_BYTES, Document, value_of
from agent.config.load import load
from agent.errors import UsageError
from tests.config.files import complaints

# Each level names the one below nine times: 9^9 values from ten short lines.
BOMB = "l0: &l0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (BOMB, "is too large or too deep once its aliases are expanded"),
        ("agent: &a {labels: *a}", "is too large or too deep once its aliases are expanded"),
        ("agent: " + "[" * 10_000, "is more than 32 levels deep"),
        ("agent:\n  name: a\n  name: b", "agent.yaml:3: agent.name: stands here a second time"),
        ("agent: {1: x}", "has a key that is not text"),
        ("agent: {on: x}", "has a key that is not text; put it in quotes"),
        ("agent: !!python/object:os.system x", "should be plain text"),
        ("agent:\n\tname: x", "agent.yaml:2: is not valid YAML"),
        ("agent: {", "is not valid YAML"),
        ("[a]", "should be a mapping of keys"),
        ("a: 1\n---\nb: 2", "is not valid YAML"),
    ],
)
def test_it_is_refused_by_line(tmp_path, text, complaint):
    """Hostile or odd, the answer is one problem and no traceback."""
    assert complaint in "\n".join(complaints(tmp_path, text))


def test_a_file_that_is_too_large_is_not_parsed(tmp_path):
    """It is not even read to its end."""
    (line,) = complaints(tmp_path, "#" * (MAX_FILE_BYTES + 1))

    assert "agent.yaml: is larger than 1048576 bytes" == line


def test_a_file_that_is_not_there_is_a_mistake_of_the_user(tmp_path):
    """And so is a directory."""
    for path in (tmp_path / "agent.yaml", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            load(path, environ={})


def test_a_file_that_is_not_text_is_named_by_line(tmp_path):
    """UTF-8 it must be."""
    (tmp_path / "agent.yaml").write_bytes(b"agent:\n  name: \xff\n")

    with pytest.raises(UsageError, match="is not UTF-8 at line 2"):
        load(tmp_path / "agent.yaml", environ={})


def test_aliases_and_dates_are_taken_as_people_mean_them():
    """An alias repeats a value, and a date is text."""
    document = Document("a: &x {d: 2026-01-02}\nb: *x\n", name="f")

    assert {"a": {"d": "2026-01-02"}, "b": {"d": "2026-01-02"}} == document.tree


@given(st.text())
def test_any_text_of_a_file_is_read_or_refused(text):
    """No text ends in an exception of YAML's."""
    assert isinstance(Document(text, name="f").tree, dict)


@given(st.text())
def test_any_text_of_a_variable_is_read_or_refused(text):
    """No text ends in an exception but the one for a broken list or mapping."""
    may_be_broken = text.lstrip().startswith(("[", "{", '"', "'"))

    with suppress(ValueError) if may_be_broken else nullcontext():
        value_of(text)
