"""However a log is asked for again, every line of it is taken once."""

import random

import pytest

from agent.pipelines.kubernetes.log_lines import CUT, LONGEST_LINE, LogLines, Place

NEW_YEAR = 1767225600


def stamped(nanoseconds: int, text: str) -> bytes:
    seconds, fraction = divmod(nanoseconds, 10**9)
    return f"2026-01-01T00:00:{seconds:02d}.{fraction:09d}Z {text}\n".encode()


def since(log: list[tuple[int, str]], place: Place) -> bytes:
    """What a cluster shows of *log*: the lines of the second on that was asked for."""
    first = 0 if place.since is None else (place.since - NEW_YEAR) * 10**9
    return b"".join(stamped(time, text) for time, text in log if time >= first)


@pytest.mark.parametrize("seed", range(30))
def test_broken_off_anywhere_nothing_is_lost_or_doubled(seed):
    """Lines of one moment, out of order by up to half a second, connections cut at any byte."""
    chance = random.Random(seed)
    times = sorted(chance.randrange(10 * 10**9) // chance.choice([1, 10**8]) for _ in range(200))
    times = [max(0, time + chance.choice([0, 0, -(10**9) // 2])) for time in times]
    log = [(time, f"line {number % 7}") for number, time in enumerate(times)]
    place, taken = Place(), b""

    for written in [*sorted(chance.sample(range(200), 10)), 200]:
        lines = LogLines(place)
        shown = since(log[:written], place)
        if written < 200:
            shown = shown[: chance.randrange(len(shown) + 1)]
        while shown:
            size = chance.randrange(1, 200)
            taken += lines.feed(shown[:size])
            shown = shown[size:]
        place = lines.place
        assert not lines.torn

    assert "".join(f"{text}\n" for _, text in log).encode() == taken


def test_a_log_that_was_thrown_away_is_torn_and_read_on():
    """Of what the cluster kept, lines that were read are left out by their time."""
    first = LogLines(Place())
    first.feed(stamped(1, "a") + stamped(2, "b") + stamped(3, "c"))

    second = LogLines(first.place)
    taken = second.feed(stamped(3, "c") + stamped(4, "d"))
    third = LogLines(second.place)

    assert (True, b"d\n") == (second.torn, taken)
    assert b"e\n" == third.feed(stamped(3, "c") + stamped(4, "d") + stamped(5, "e"))
    assert not third.torn


def test_a_last_line_without_an_end_is_taken_at_the_end():
    lines = LogLines(Place())
    taken = lines.feed(stamped(1, "a") + stamped(2, "b")[:-1])

    assert (b"a\n", b"b", b"") == (taken, lines.end(), lines.end())


def test_endless_lines_are_cut():
    """Memory is bounded, and the next line is whole again."""
    lines = LogLines(Place())
    taken = lines.feed(b"2026-01-01T00:00:00.0Z ")
    for _ in range(64):
        taken += lines.feed(b"x" * 65536)
    taken += lines.feed(b"\n" + stamped(2, "b"))

    assert taken.endswith(CUT + b"\nb\n")
    assert len(taken) < LONGEST_LINE + 100


@pytest.mark.parametrize("zone", ["Z", "+00:00", "+05:30"])
def test_times_are_read_in_every_zone(zone):
    hour = "05:30" if zone == "+05:30" else "00:00"
    lines = LogLines(Place())

    assert b"a\n" == lines.feed(f"2026-01-01T{hour}:00.5{zone} a\n".encode())
    assert NEW_YEAR * 10**9 + 5 * 10**8 == lines.place.latest
