"""What a watch tells: changes of a selection from a version on, bookmarks, and that it expired."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.doubles.kubernetes.refusals import Refusal
from tests.doubles.kubernetes.resources import Resource
from tests.doubles.kubernetes.storage import Change, Object, Storage

Selects = Callable[[Object], bool]

_BOOKMARK_BEFORE_END = 2.0
_LONGEST = 1800.0


def watch(
    storage: Storage, resource: Resource, namespace: str, selects: Selects, query: Mapping[str, str]
) -> Iterator[bytes]:
    """Yield events, one a line, until the time is up or the version is too old."""
    seconds = float(query.get("timeoutSeconds", _LONGEST))
    ends_at = time.monotonic() + seconds
    bookmarks = query.get("allowWatchBookmarks") == "true"
    version = int(query.get("resourceVersion") or 0)
    if not version:
        with storage.lock:
            version = storage.revision
            present = storage.list(resource.group, resource.plural, namespace)
        yield from (_line("ADDED", one) for one in present if selects(one))
    begin, marked = version, False
    while (left := ends_at - time.monotonic()) > 0:
        with storage.lock:
            if version < storage.compacted:
                yield _line("ERROR", _expired(version, storage.compacted))
                return
            fresh = [one for one in storage.changes if one.revision > version]
            version = storage.revision
            if not fresh:
                until_bookmark = left - _BOOKMARK_BEFORE_END if bookmarks else left
                storage.lock.wait(max(0.01, min(left, until_bookmark)))
        lines = [
            line
            for one in fresh
            if _is_of(one, resource, namespace) and (line := _told(one, selects))
        ]
        # Also when there is nothing to tell: who reads may want to stop.
        yield b"".join(lines)
        if (
            bookmarks
            and not marked
            and not fresh
            and begin < version
            and left < _BOOKMARK_BEFORE_END
        ):
            marked = True
            about = {"kind": resource.kind, "apiVersion": resource.api_version}
            yield _line("BOOKMARK", {**about, "metadata": {"resourceVersion": str(version)}})


def _is_of(change: Change, resource: Resource, namespace: str) -> bool:
    key = change.key
    same = (key.group, key.plural) == (resource.group, resource.plural)
    return same and namespace in ("", key.namespace)


def _told(change: Change, selects: Selects) -> bytes:
    was = change.before is not None and selects(change.before)
    match change.kind, was, selects(change.object):
        case "DELETED", True, _:
            return _line("DELETED", change.object)
        case "DELETED", False, _:
            return b""
        case _, True, True:
            return _line("MODIFIED", change.object)
        case _, False, True:
            return _line("ADDED", change.object)
        case _, True, False:
            return _line("DELETED", change.object)
    return b""


def _line(kind: str, thing: Mapping[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": thing}).encode() + b"\n"


def _expired(version: int, oldest: int) -> Mapping[str, Any]:
    message = f"too old resource version: {version} ({oldest})"
    return Refusal(410, "Expired", message).body
