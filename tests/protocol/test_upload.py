"""The texts of uploads: what an agent takes from a stranger, and what names another host."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ProtocolError
from agent.protocol.codec import decode
from agent.protocol.messages import FROM_CONTROL_PLANE, Welcome
from agent.protocol.upload import (
    VERDICTS,
    Answer,
    Segment,
    Verdict,
    read_content_range,
    taken,
    understand,
    upload_url,
)


def welcome(path: str) -> Welcome:
    text = Welcome(session="s", resumed=False).model_dump_json(exclude_none=True)
    offer = f'"upload":{{"path":"{path}"}},"session"'
    return decode(text.replace('"session"', offer, 1), FROM_CONTROL_PLANE)


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/upload", "//evil.example/upload", "/upload//evil.example", "upload",
        "", "/", "/up load", "/upload\\\\r\\\\nX: y", "/upload?to=x", "/upload#x", "/up%2e",
        "/../x", "/@evil.example", "/:80", "\\\\evil", "/upload/", "/" + "a" * 256, "/upload\\n",
    ],
)  # fmt: skip
def test_an_offer_that_names_more_than_a_path_is_a_broken_protocol(path):
    """So no word of a control plane sends content to another host."""
    with pytest.raises(ProtocolError):
        welcome(path)


@pytest.mark.parametrize("path", ["/agent/v1/upload", "/u", "/node-7/~up/load_1.0"])
def test_a_path_goes_to_the_host_that_was_dialled(path):
    assert path == welcome(path).upload.path

    url = upload_url("wss://cloud.example.com:8443/x/agent/v1/connect", path, "j-1")

    assert f"https://cloud.example.com:8443{path}/j-1" == url


@given(st.integers(0, 2**62), st.integers(1, 2**62))
def test_a_range_is_read_as_it_is_written(first, length):
    segment = Segment(first, first + length, first + length + 1)

    assert segment == read_content_range(segment.content_range())


@pytest.mark.parametrize(
    "text",
    ["", "bytes 0-4/4", "bytes 4-3/9", "bytes 0-3", "bytes 0-3/*", "bytes=0-3/4", "bytes -1-3/4",
     "bytes 0-3/4 ", "bytes \u0663-\u0664/\u0665", f"bytes 0-{'9' * 20}/{'9' * 21}"],
)  # fmt: skip
def test_a_range_that_is_none_is_not_read(text):
    assert read_content_range(text) is None


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b"{}", b'{"offset":-1}', b'{"offset":true}', b'{"offset":1.5}',
     b'{"offset":"1"}', b'{"offset":9223372036854775808}', b"[" * 4000, b"\xff",
     b'{"offset":1}' * 400],
)  # fmt: skip
def test_a_success_that_names_no_offset_is_none(body):
    """As the page of a proxy that wants somebody to log in."""
    assert Answer(Verdict.BLOCKS, 200) == understand(200, body)


@given(st.integers(100, 999), st.binary(max_size=200), st.text(max_size=10))
def test_every_answer_means_something(status, body, retry_after):
    answer = understand(status, body, retry_after=retry_after)

    assert 0 <= (answer.retry_after or 0) <= 3600
    assert (answer.verdict is Verdict.TAKEN) <= (200 <= status < 300)


def test_what_is_not_in_the_table_can_not_be_sent_here():
    assert {Verdict.BLOCKS} == {
        understand(status, taken(1).encode()).verdict
        for status in range(300, 600)
        if status not in VERDICTS
    }


@pytest.mark.parametrize(
    ("body", "header", "seconds"),
    [(b'{"retry_after":2.5}', "9", 2.5), (b"", "9", 9.0), (b"", "99999", 3600.0),
     (b'{"retry_after":1e400}', None, 3600.0), (b'{"retry_after":NaN}', None, None),
     (b"", "Mon, 23 Nov 2026 10:00:00 GMT", None), (b'{"retry_after":-3}', None, 0.0)],
)  # fmt: skip
def test_a_time_to_wait_is_believed_within_an_hour(body, header, seconds):
    answer = understand(503, body, retry_after=header)

    assert Answer(Verdict.LATER, 503, retry_after=seconds) == answer
