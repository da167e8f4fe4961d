"""Frames to bytes and back, and what a hostile peer may send instead."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ProtocolError
from agent.protocol.codec import (
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_TEXT_BYTES,
    Unknown,
    decode,
    decode_block,
    encode,
    encode_block,
    numbered,
)
from agent.protocol.messages import FROM_CONTROL_PLANE, JobRequest, Ping


def request(**fields):
    return json.dumps({"type": "job.request", "seq": 1, "job": "j", "kind": "k", **fields})


def nested(depth):
    return '{"type":"job.request","parameters":' + '{"a":' * depth + "1" + "}" * (depth + 1)


HOSTILE = {
    "no json": "{",
    "no object": "[]",
    "no type": "{}",
    "type is no text": '{"type": 1}',
    "long type": json.dumps({"type": "x" * 65}),
    "double key": '{"type":"ping","n":1,"n":2}',
    "double key inside": '{"type":"job.request","parameters":{"a":{"b":1,"b":2}}}',
    "not a number": '{"type":"ping","n":NaN}',
    "infinity": '{"type":"ping","n":-Infinity}',
    "huge integer": '{"type":"ping","n":' + "9" * 5000 + "}",
    "too deep": nested(MAX_DEPTH),
    "far too deep": "[" * 900_000,
    "deep and closed": '{"type":"ping","n":' + "[" * 100_000 + "]" * 100_000 + "}",
    "many objects": '{"type":"ping","n":[' + ",".join(["{}"] * MAX_ITEMS) + "]}",
    "many keys": request(parameters={str(n): n for n in range(MAX_ITEMS)}),
    "too large": json.dumps({"type": "ping", "n": "x" * MAX_TEXT_BYTES}),
    "wrong field": '{"type":"ping","n":"one"}',
    "negative": '{"type":"ping","n":-1}',
    "path in the id": request(job="../../etc/passwd"),
    "deadline without end": '{"type":"job.request","job":"j","kind":"k","deadline_s":1e999}',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_text_frame_is_refused(text):
    with pytest.raises(ProtocolError):
        decode(text, FROM_CONTROL_PLANE)


def test_a_refusal_repeats_nothing_of_the_frame():
    with pytest.raises(ProtocolError) as caught:
        decode('{"type":"ping","n":"tell-tale"}', FROM_CONTROL_PLANE)

    assert "tell-tale" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_too_large_a_frame_has_its_own_close_reason():
    with pytest.raises(ProtocolError) as caught:
        decode(HOSTILE["too large"], FROM_CONTROL_PLANE)

    assert "frame_too_large" == caught.value.reason


def test_unknown_fields_are_tolerated():
    assert Ping(n=3) == decode('{"type":"ping","n":3,"colour":"red"}', FROM_CONTROL_PLANE)


def test_an_unknown_type_keeps_its_number():
    assert Unknown("job.dance", 7) == decode('{"type":"job.dance","seq":7}', FROM_CONTROL_PLANE)


def test_type_comes_first_on_the_wire():
    text = numbered(encode(JobRequest(job="j", kind="k")), 5)

    assert text.startswith('{"type":"job.request","seq":5,')


def test_only_the_messages_own_number_is_set():
    """Whatever stands in its fields."""
    message = JobRequest(job="j", kind="k", parameters={"a": '"seq":0', "seq": 0})

    assert message.model_copy(update={"seq": 7}) == decode(
        numbered(encode(message), 7), FROM_CONTROL_PLANE
    )


def test_a_message_survives_the_wire():
    message = JobRequest(seq=9, job="j", kind="k", parameters={"a": [1, None, "é"]}, deadline_s=3)

    assert message == decode(encode(message), FROM_CONTROL_PLANE)


@given(
    seq=st.integers(0, 2**64 - 1),
    offset=st.integers(0, 2**64 - 1),
    job=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True),
    data=st.binary(max_size=300),
)
def test_a_block_survives_the_wire(seq, offset, job, data):
    block = decode_block(encode_block(seq, job, offset, data))

    assert (seq, job, offset, data) == (block.seq, block.job, block.offset, bytes(block.data))


@given(st.binary(max_size=64))
def test_any_bytes_are_a_block_or_a_protocol_error(frame):
    try:
        block = decode_block(frame)
    except ProtocolError:
        return
    assert encode_block(block.seq, block.job, block.offset, block.data)[0:1] == frame[0:1]


@given(st.text(max_size=200))
def test_any_text_is_a_message_or_a_protocol_error(text):
    try:
        decode(text, FROM_CONTROL_PLANE)
    except ProtocolError:
        return
    assert text.lstrip().startswith("{")
