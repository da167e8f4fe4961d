"""What an upload keeps: nothing is lost, nothing is kept twice, whatever breaks when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.link.window import OutOfWindow, Window


def sent(window: Window, most: int) -> bytes:
    """Send everything, in pieces of at most *most* bytes."""
    return b"".join(bytes(piece) for piece in iter(lambda: window.take(most), b""))


@given(
    blocks=st.lists(st.binary(max_size=20), max_size=10),
    most=st.integers(1, 15),
    breaks=st.lists(st.floats(0, 1), max_size=6),
    offset=st.integers(0, 100),
)
def test_what_arrives_is_what_was_given(blocks, most, breaks, offset):
    """The far end takes a part of what is sent, the connection breaks, again and again."""
    content = b"".join(blocks)
    window = Window(offset=offset, size=offset + len(content))
    for block in blocks:
        window.give(block)
    arrived = b""
    for share in breaks:
        coming = sent(window, most)
        arrived += coming[: int(share * len(coming))]
        window.go_back(offset + len(arrived))
        assert window.held == len(content) - len(arrived)
        assert content[len(arrived) :] == b"".join(bytes(piece) for piece in window.rest())

    arrived += sent(window, most)
    window.acknowledge(window.sent)

    assert content == arrived
    assert (0, window.size, []) == (window.held, window.safe, window.rest())


def test_nothing_is_copied():
    block = bytearray(b"0123456789")
    window = Window(offset=0, size=10)
    window.give(block)

    block[:] = b"abcdefghij"

    assert b"abcd" == window.take(4)


@pytest.mark.parametrize("position", [4, 9, 2**63 - 1])
def test_a_position_that_was_not_reached_or_is_given_up_is_refused(position):
    """And changes nothing."""
    window = Window(offset=0, size=20)
    window.give(b"0123456789")
    window.take(8)
    window.acknowledge(5)

    with pytest.raises(OutOfWindow):
        window.acknowledge(position)

    assert (5, 8, 10) == (window.safe, window.sent, window.given)
