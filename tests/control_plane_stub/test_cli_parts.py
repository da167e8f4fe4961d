"""The parts of the client that need no server: events, tables, values, the progress display."""

import io
from argparse import ArgumentTypeError
from datetime import UTC, datetime

import pytest

from agent.errors import ProtocolError
from control_plane_stub.argument_types import address, parameter, seconds
from control_plane_stub.client import events
from control_plane_stub.client.events import Event, EventDecoder
from control_plane_stub.client.progress import PlainDisplay, printable
from control_plane_stub.listings import age, jobs_table

STREAM = b': hello\n\nevent: log\nid: 7\ndata: {"text": "\xc3\xa9"}\n\ndata: 1\r\n\r\n'


class TestEventDecoder:
    @pytest.mark.parametrize("cut", range(len(STREAM)))
    def test_does_not_mind_where_blocks_end(self, cut: int) -> None:
        decoder = EventDecoder()

        seen = decoder.feed(STREAM[:cut]) + decoder.feed(STREAM[cut:])

        assert seen == [Event("log", "7", {"text": "é"}), Event("message", None, 1)]

    def test_refuses_an_endless_event(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(events, "LONGEST_EVENT", 10)

        with pytest.raises(ProtocolError, match="over 10 bytes"):
            EventDecoder().feed(b"data: 123456")

    def test_refuses_what_is_not_json(self) -> None:
        with pytest.raises(ProtocolError, match="not JSON"):
            EventDecoder().feed(b"data: {\n\n")


class TestValue:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("a=3", ("a", 3)),
            ("a=3 apples", ("a", "3 apples")),
            ("a=[0, 99]", ("a", [0, 99])),
            ("a=", ("a", "")),
            ("a=b=c", ("a", "b=c")),
            ("a=NaN", ("a", "NaN")),
        ],
    )
    def test_of_a_parameter_is_json_when_it_is_json(self, text: str, value: object) -> None:
        assert parameter(text) == value

    def test_of_a_duration_has_a_unit(self) -> None:
        assert [seconds(text) for text in ("30", "30s", "1.5m", "2h")] == [30, 30, 90, 7200]

    @pytest.mark.parametrize("text", ["", "0s", "-1s", "5 weeks"])
    def test_that_is_no_duration_is_refused(self, text: str) -> None:
        with pytest.raises(ArgumentTypeError, match="30s, 5m or 2h"):
            seconds(text)

    def test_of_an_address_may_be_of_ipv6(self) -> None:
        assert address("[::1]:0") == ("::1", 0)


class TestTable:
    def test_keeps_control_characters_from_the_terminal(self) -> None:
        job = {"id": "j\x1b[2J", "kind": "two\nlines", "state": "queued"}

        table = jobs_table([job], now=datetime(2026, 1, 1, tzinfo=UTC))

        assert "j\\x1b[2J" in table
        assert len(table.splitlines()) == 2

    def test_tells_ages_in_their_largest_unit(self) -> None:
        now = datetime(2026, 1, 2, 1, 0, 30, tzinfo=UTC)
        times = ("2026-01-02T01:00:00Z", "2026-01-02T00:00:00Z", "2026-01-01T00:00:00+00:00", None)

        assert [age(time, now=now) for time in times] == ["30s", "1h", "1d", "-"]


class TestDisplay:
    def test_ends_a_log_with_a_line_end(self) -> None:
        notes, log = io.StringIO(), io.StringIO()
        display = PlainDisplay(notes, log)

        display.note("state: running")
        display.log("one\ntw")
        display.log("o")
        display.close()

        assert (notes.getvalue(), log.getvalue()) == ("state: running\n", "one\ntwo\n")

    def test_makes_control_characters_visible(self) -> None:
        assert printable("a\x1b[31mb\tc\r\n\x9b") == "a\\x1b[31mb\tc\n\\x9b"
