"""The objects, with the uids and resource versions that the API gives them."""

import copy
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """What watches tell: ADDED, MODIFIED or DELETED, the object as it then was, and before."""

    revision: int
    kind: str
    key: "Key"
    object: Object
    before: Object | None


@dataclass(frozen=True, order=True)
class Key:
    """Where an object is kept; *namespace* is empty for those of the whole cluster."""

    group: str
    plural: str
    namespace: str
    name: str


@dataclass
class Storage:
    """Hands out copies, so that only `create`, `replace` and `remove` change anything.

    Each change takes the next of one row of resource versions, as etcd does, and is kept for
    watches. Whoever uses it holds `lock`, which is notified of changes.
    """

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    revision: int = 1
    lock: threading.Condition = field(
        default_factory=lambda: threading.Condition(threading.RLock())
    )
    changes: list[Change] = field(default_factory=list)
    compacted: int = 0
    _objects: dict[Key, Object] = field(default_factory=dict)

    def compact(self) -> None:
        """Forget all changes so far: who wants to go on from one of them is told 410."""
        with self.lock:
            self.compacted = self.revision
            self.changes.clear()
            self.lock.notify_all()

    def keys(self, group: str, plural: str) -> list[Key]:
        """Return where all objects of a kind are."""
        return sorted(key for key in self._objects if (key.group, key.plural) == (group, plural))

    def owned(self) -> list[tuple[Key, Object]]:
        """Return all objects that name an owner."""
        return [
            (key, copy.deepcopy(one))
            for key, one in self._objects.items()
            if one["metadata"].get("ownerReferences")
        ]

    def uids(self) -> set[str]:
        """Return those of all objects."""
        return {str(one["metadata"]["uid"]) for one in self._objects.values()}

    def get(self, key: Key) -> Object | None:
        found = self._objects.get(key)
        return copy.deepcopy(found) if found is not None else None

    def list(self, group: str, plural: str, namespace: str = "") -> list[Object]:
        """Return them by namespace and name; an empty *namespace* means all."""
        keys = sorted(key for key in self._objects if (key.group, key.plural) == (group, plural))
        found = [key for key in keys if namespace in ("", key.namespace)]
        return [copy.deepcopy(self._objects[key]) for key in found]

    def create(self, key: Key, new: Object) -> Object:
        """Keep *new* with a uid of its own; nothing may be there yet."""
        meta = new["metadata"]
        given = {
            "uid": meta.get("uid") or str(uuid.uuid4()),
            "creationTimestamp": timestamp(self.now()),
        }
        new["metadata"] = {**meta, **given}
        return self._kept(key, new)

    def replace(self, key: Key, new: Object) -> Object:
        """Keep *new* in place of what is there; one that says the same changes nothing."""
        if new == self._objects[key]:
            return copy.deepcopy(new)
        return self._kept(key, new)

    def remove(self, key: Key) -> Object:
        self.revision += 1
        removed = self._objects.pop(key)
        removed["metadata"]["resourceVersion"] = str(self.revision)
        self._tell("DELETED", key, removed, removed)
        return removed

    def remove_all(self, namespace: str) -> None:
        """Remove everything of *namespace*."""
        for key in [key for key in self._objects if key.namespace == namespace]:
            self.remove(key)

    def _kept(self, key: Key, new: Object) -> Object:
        self.revision += 1
        before = self._objects.get(key)
        new["metadata"]["resourceVersion"] = str(self.revision)
        self._objects[key] = copy.deepcopy(new)
        self._tell("MODIFIED" if before else "ADDED", key, new, before)
        return new

    def _tell(self, kind: str, key: Key, now: Object, before: Object | None) -> None:
        with self.lock:
            self.changes.append(Change(self.revision, kind, key, copy.deepcopy(now), before))
            self.lock.notify_all()


def timestamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
