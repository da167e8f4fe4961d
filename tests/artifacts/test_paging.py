"""A page token holds one name, whatever it is made of."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.artifact_uri import ArtifactUri
from agent.artifacts.paging import Position, child
from agent.errors import BadParameters

ROOT = ArtifactUri.parse("s3://acme/zenml")


@given(st.text(), st.booleans())
def test_token_of_every_entry_is_read_back(name: str, directory: bool) -> None:
    if child(ROOT, name) is None:
        return

    place = Position(name, directory)

    assert place == Position.parse(place.token)


@given(st.binary())
def test_whatever_a_token_says_it_names_one_segment(content: bytes) -> None:
    try:
        place = Position.parse(base64.urlsafe_b64encode(content).decode())
    except BadParameters:
        return
    assert place.name not in ("", ".", "..")
    assert "/" not in place.name


@given(st.text())
def test_any_text_is_a_token_or_refused(text: str) -> None:
    with suppress(BadParameters):
        Position.parse(text)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\n", "\ud800", "x" * 5000])
def test_names_that_no_uri_holds(name: str) -> None:
    assert child(ROOT, name) is None
