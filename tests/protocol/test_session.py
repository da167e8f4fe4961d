"""The session without I/O: two of them joined by lists stand for a link."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import ProtocolError
from agent.protocol.codec import Block, decode, decode_block
from agent.protocol.messages import (
    FROM_AGENT,
    JobAccepted,
    JobProgress,
    JobResult,
    Limits,
    Numbered,
    Trailer,
)
from agent.protocol.session import MOST_EARLY_CREDITS, YOUNG_BYTES, Frame, Session

SMALL = Limits(window_bytes=65536, block_bytes=1024, credit_bytes=4096)


def frames(session: Session) -> list[Frame]:
    sent = []
    while (frame := session.next_frame()) is not None:
        sent.append(frame)
    return sent


def read(frame: Frame) -> Block | Numbered:
    if isinstance(frame, bytes):
        return decode_block(frame)
    message = decode(frame, FROM_AGENT)
    assert isinstance(message, Numbered)
    return message


def result(job: str, size: int = 0) -> JobResult:
    return JobResult(job=job, outcome="succeeded", trailer=Trailer(bytes=size))


def test_frames_are_numbered_in_the_order_of_sending():
    session = Session(SMALL)
    for job in ("a", "b"):
        session.post(JobAccepted(job=job, durable=False))

    assert [1, 2] == [read(frame).seq for frame in frames(session)]


def test_unacknowledged_frames_go_out_again_after_resume():
    """A new link gets exactly what the peer has not seen, as it was."""
    session = Session(SMALL)
    for n in range(3):
        session.post(JobProgress(job="a", done=n))
    sent = frames(session)

    session.resume(their_received=1)

    assert sent[1:] == frames(session)


def test_what_was_sent_again_and_acknowledged_is_not_sent_a_third_time():
    session = Session(SMALL)
    for n in range(3):
        session.post(JobProgress(job="a", done=n))
    frames(session)
    session.resume(their_received=0)
    session.next_frame()

    session.acknowledged(2)

    assert [3] == [read(frame).seq for frame in frames(session)]


def test_a_repeated_frame_is_dropped():
    session = Session(SMALL)

    assert [True, False, True, False] == [session.take(seq) for seq in (1, 1, 2, 1)]


@pytest.mark.parametrize("seq", [0, 2, 100])
def test_a_missing_frame_breaks_the_protocol(seq):
    with pytest.raises(ProtocolError):
        Session(SMALL).take(seq)


def test_an_acknowledgement_is_due_once_for_many_frames():
    session = Session(SMALL)
    for seq in (1, 2, 3):
        session.take(seq)

    assert 3 == session.ack().received
    assert session.ack() is None


def test_only_what_is_in_safe_hands_is_acknowledged():
    session = Session(SMALL)
    for seq in (1, 2, 3):
        session.take(seq)

    assert 2 == session.ack(up_to=2).received


def test_acknowledging_what_was_never_sent_breaks_the_protocol():
    with pytest.raises(ProtocolError):
        Session(SMALL).acknowledged(1)


def test_a_peer_that_lost_acknowledged_frames_cannot_resume():
    session = Session(SMALL)
    session.post(JobAccepted(job="a", durable=False))
    frames(session)
    session.acknowledged(1)

    with pytest.raises(ProtocolError):
        session.resume(their_received=0)


def test_content_stops_at_its_credit_and_goes_on_with_more():
    session = Session(SMALL)
    session.open_stream("a")
    session.offer("a", bytes(10_000))

    assert 4096 == sum(len(read(frame).data) for frame in frames(session))
    session.grant("a", 5000)
    assert 5000 - 4096 == sum(len(read(frame).data) for frame in frames(session))


def test_credit_is_never_taken_back():
    session = Session(SMALL)
    session.open_stream("a")
    session.grant("a", 8192)
    session.grant("a", 1)
    session.offer("a", bytes(8192))

    assert 8192 == sum(len(read(frame).data) for frame in frames(session))


def test_credit_may_come_before_the_content_begins():
    """As when a job is begun again: its standing and its credit are told in one breath."""
    session = Session(SMALL)
    session.grant("a", 9000)
    session.open_stream("a")
    session.offer("a", bytes(10_000))

    assert 9000 == sum(len(read(frame).data) for frame in frames(session))


def test_credit_is_kept_when_a_former_attempt_at_the_job_ends():
    """In a new session it may come before the attempt of the old one has been cancelled."""
    session = Session(Limits(credit_bytes=2))
    session.grant("j", 5)
    session.drop_stream("j")

    session.open_stream("j", offset=1)
    session.offer("j", b"12345678")

    assert b"1234" == b"".join(read(frame).data for frame in frames(session))


def test_credit_for_jobs_that_never_come_is_bounded():
    session = Session(SMALL)

    for n in range(2 * MOST_EARLY_CREDITS):
        session.grant(str(n), 1)

    assert len(session._early_credit) == MOST_EARLY_CREDITS


def test_content_in_flight_never_exceeds_the_window():
    session = Session(Limits(window_bytes=65536, block_bytes=1024, credit_bytes=10**9))
    session.open_stream("a")
    session.offer("a", bytes(10**6))

    frames(session)

    assert session.unacked_bytes <= 65536


def test_messages_overtake_content():
    session = Session(SMALL)
    session.open_stream("a")
    session.offer("a", bytes(2048))
    session.post(JobProgress(job="b", done=1))

    assert isinstance(read(session.next_frame()), JobProgress)


def test_a_small_stream_does_not_wait_for_bulk():
    """With the window full of bulk there is still room for a young stream."""
    limits = Limits(window_bytes=4 * YOUNG_BYTES, block_bytes=65536, credit_bytes=10**9)
    session = Session(limits)
    session.open_stream("bulk")
    session.offer("bulk", bytes(10 * YOUNG_BYTES))
    frames(session)

    session.open_stream("small")
    session.offer("small", bytes(16384))

    assert ["small"] == [read(frame).job for frame in frames(session)]


def test_bulk_streams_take_turns():
    limits = Limits(window_bytes=10**8, block_bytes=YOUNG_BYTES, credit_bytes=10**9)
    session = Session(limits)
    for job in ("a", "b"):
        session.open_stream(job)
        session.offer(job, bytes(4 * YOUNG_BYTES))

    order = [read(frame).job for frame in frames(session)]

    assert ["a", "b"] * 4 == order


def test_a_result_follows_its_content():
    session = Session(SMALL)
    session.open_stream("a")
    session.offer("a", bytes(2048))
    session.finish("a", result("a", 2048))

    kinds = [type(read(frame)).__name__ for frame in frames(session)]

    assert ["Block", "Block", "JobResult"] == kinds


def test_a_stream_begins_where_the_receiver_stands():
    session = Session(SMALL)
    session.open_stream("a", offset=700)
    session.offer("a", b"rest")

    assert (700, b"rest") == (lambda b: (b.offset, bytes(b.data)))(read(session.next_frame()))


def test_a_dropped_stream_sends_nothing_more():
    session = Session(SMALL)
    session.open_stream("a")
    session.offer("a", bytes(2048))

    session.drop_stream("a")

    assert session.next_frame() is None


def test_everything_acknowledged_means_idle():
    session = Session(SMALL)
    session.open_stream("a")
    session.offer("a", b"x")
    session.finish("a", result("a", 1))
    frames(session)
    assert not session.idle

    session.acknowledged(2)

    assert session.idle
    assert 0 == session.unacked_bytes == session.text_backlog


@settings(max_examples=200, deadline=None)
@given(
    blocks=st.lists(st.binary(min_size=1, max_size=5000), min_size=1, max_size=12),
    cuts=st.lists(st.integers(min_value=0, max_value=9), max_size=12),
)
def test_any_pattern_of_cuts_loses_and_repeats_nothing(blocks, cuts):
    """Frames vanish at random places, links are resumed, and the content arrives once and whole."""
    sender, receiver = Session(Limits(block_bytes=1024)), Session(SMALL)
    sender.open_stream("a")
    for block in blocks:
        sender.offer("a", block)
    sender.finish("a", result("a", sum(map(len, blocks))))
    content, results = bytearray(), 0

    for survivors in [*cuts, 10**6]:
        sender.resume(receiver.received)
        for frame in frames(sender)[:survivors]:
            piece = read(frame)
            if not receiver.take(piece.seq):
                continue
            if isinstance(piece, Block):
                assert len(content) == piece.offset
                content += piece.data
            else:
                results += 1

    assert b"".join(blocks) == bytes(content)
    assert 1 == results
