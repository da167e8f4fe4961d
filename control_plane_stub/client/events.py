"""Cuts a stream of server-sent events into events; no I/O, no reconnecting."""

import json
from dataclasses import dataclass
from typing import Any

from agent.errors import ProtocolError

LONGEST_EVENT = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """One event: *id* is what ``Last-Event-ID`` wants, *data* the decoded JSON."""

    kind: str
    id: str | None
    data: Any


class EventDecoder:
    """Takes bytes in as they come and gives out whole events; memory is bounded by one event."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, block: bytes) -> list[Event]:
        """Return the events that *block* completes; comments and empty events are left out.

        Raises:
            ProtocolError: An event is too long, or its data is not JSON.
        """
        *whole, self._rest = (self._rest + block).replace(b"\r\n", b"\n").split(b"\n\n")
        if len(self._rest) > LONGEST_EVENT:
            raise ProtocolError(f"the control plane sent an event over {LONGEST_EVENT} bytes")
        return [event for text in whole if (event := _event(text.decode("utf-8", "replace")))]


def _event(text: str) -> Event | None:
    fields: dict[str, list[str]] = {}
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))
    if "data" not in fields:
        return None
    try:
        data = json.loads("\n".join(fields["data"]))
    except ValueError:
        raise ProtocolError("the control plane sent an event that is not JSON") from None
    return Event(fields.get("event", ["message"])[-1], fields.get("id", [None])[-1], data)
