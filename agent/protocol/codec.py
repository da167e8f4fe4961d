"""Messages and data blocks to bytes and back, within limits. No I/O.

A text frame is one JSON object, ``type`` first. A binary frame is one block of one job's content::

    0      1      2         4          12           20          20+L
    +------+------+---------+----------+------------+-----------+----------------
    | 0x01 | 0x00 | L (u16) | seq (u64)| offset(u64)| job (L)   | bytes
    +------+------+---------+----------+------------+-----------+----------------

All numbers are big-endian; *job* is ASCII.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import isinf
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError

from agent.errors import ProtocolError
from agent.protocol.messages import Message

MAX_TEXT_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_ITEMS = 20_000
MAX_INTEGER_DIGITS = 20

_HEADER = struct.Struct("!BBHQQ")
_BLOCK = 0x01

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a job's content; *data* is a view into the received frame."""

    seq: int
    job: str
    offset: int
    data: memoryview


@dataclass(frozen=True, slots=True)
class Unknown:
    """A message of a type that we do not know; numbered ones still count."""

    type: str
    seq: int


def encode(message: Message) -> str:
    """Return *message* as the text of one frame."""
    return message.model_dump_json(exclude_none=True)


def numbered(text: str, seq: int) -> str:
    """Return *text*, which `encode` has made of a numbered message, with *seq* as its number.

    A message is encoded once, when it is queued, and numbered when it is sent. The type comes
    first and is ours, so the first ``seq`` is the message's own.
    """
    return text.replace('"seq":0', f'"seq":{seq}', 1)


def encode_block(seq: int, job: str, offset: int, data: bytes | memoryview) -> bytes:
    """Return one binary frame; *data* is copied once."""
    name = job.encode("ascii")
    return b"".join((_HEADER.pack(_BLOCK, 0, len(name), seq, offset), name, data))


def decode_block(frame: bytes) -> Block:
    """Read one binary frame without copying its data.

    Raises:
        ProtocolError: The frame is cut short or of another kind.
    """
    if len(frame) < _HEADER.size:
        raise ProtocolError("a binary frame is shorter than its header")
    kind, _, length, seq, offset = _HEADER.unpack_from(frame)
    start = _HEADER.size + length
    if kind != _BLOCK or not 0 < length <= 128 or len(frame) < start:
        raise ProtocolError("a binary frame has no valid header")
    try:
        job = frame[_HEADER.size : start].decode("ascii")
    except UnicodeDecodeError:
        raise ProtocolError("a binary frame names no valid job") from None
    return Block(seq, job, offset, memoryview(frame)[start:])


def decode(text: str, known: Mapping[str, type[M]]) -> M | Unknown:
    """Read one text frame.

    *known* is `FROM_AGENT` or `FROM_CONTROL_PLANE`. Unknown fields are dropped.

    Raises:
        ProtocolError: Not one JSON object, too large, too deep, too many items, a key twice, a
            number that is no finite JSON number, half a character, or fields that do not fit the
            type. The message repeats no input.
    """
    raw = parse_object(text)
    kind = raw.get("type")
    if not isinstance(kind, str) or len(kind) > 64:
        raise ProtocolError("a text frame has no type")
    model = known.get(kind)
    if model is None:
        seq = raw.get("seq", 0)
        return Unknown(kind, seq if isinstance(seq, int) and 0 <= seq < 2**63 else 0)
    try:
        return model.model_validate(raw)
    except ValidationError as exc:
        where = ".".join(str(part) for part in exc.errors(include_input=False)[0]["loc"])
        raise ProtocolError(f"{kind}: field {where or '?'} is not valid") from None


def parse_object(text: str) -> dict[str, Any]:
    """Return the JSON object in *text*, within the limits of this module.

    Raises:
        ProtocolError: As in `decode`.
    """
    if len(text) > MAX_TEXT_BYTES:
        raise ProtocolError("a text frame is too large", reason="frame_too_large")
    items = _Items()
    try:
        value = json.loads(
            text,
            object_pairs_hook=items.unique,
            parse_constant=_no_constant,
            parse_int=_bounded_int,
            parse_float=_finite,
        )
    except RecursionError:
        raise ProtocolError("a text frame is nested too deeply") from None
    except ValueError:
        raise ProtocolError("a text frame is not JSON") from None
    if not isinstance(value, dict):
        raise ProtocolError("a text frame is not a JSON object")
    _check_shape(value)
    if "\\u" in text:
        _check_text(value)
    return value


class _Items:
    """Refuses double keys, and counts keys while parsing, so that a bomb is not built up first."""

    def __init__(self) -> None:
        self._count = 0

    def unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self._count += len(pairs) + 1
        if self._count > MAX_ITEMS:
            raise ProtocolError("a text frame has too many items")
        value = dict(pairs)
        if len(value) != len(pairs):
            raise ProtocolError("a text frame has the same key twice")
        return value


def _no_constant(_: str) -> NoReturn:
    raise ProtocolError("a text frame has a number that JSON does not know")


def _bounded_int(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS:
        raise ProtocolError("a text frame has a number with too many digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if isinf(value):
        raise ProtocolError("a text frame has a number that is too large")
    return value


def _check_text(value: Any) -> None:
    """Refuse half a surrogate pair, which could be neither logged, hashed nor sent again."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ProtocolError("a text frame has half a character") from None


def _check_shape(value: Any) -> None:
    level, depth, seen = [value], 0, 0
    while level:
        depth += 1
        seen += len(level)
        if depth > MAX_DEPTH:
            raise ProtocolError("a text frame is nested too deeply")
        if seen > MAX_ITEMS:
            raise ProtocolError("a text frame has too many items")
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
