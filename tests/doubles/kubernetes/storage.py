"""The objects, with the uids and resource versions that the API gives them."""

import copy
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]


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

    Each change takes the next of one row of resource versions, as etcd does.
    """

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    revision: int = 1
    _objects: dict[Key, Object] = field(default_factory=dict)

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
        given = {"uid": str(uuid.uuid4()), "creationTimestamp": timestamp(self.now())}
        new["metadata"] = {**new["metadata"], **given}
        return self._kept(key, new)

    def replace(self, key: Key, new: Object) -> Object:
        """Keep *new* in place of what is there; one that says the same changes nothing."""
        if new == self._objects[key]:
            return copy.deepcopy(new)
        return self._kept(key, new)

    def remove(self, key: Key) -> Object:
        self.revision += 1
        return self._objects.pop(key)

    def remove_all(self, namespace: str) -> None:
        """Remove everything of *namespace*."""
        for key in [key for key in self._objects if key.namespace == namespace]:
            self.remove(key)

    def _kept(self, key: Key, new: Object) -> Object:
        self.revision += 1
        new["metadata"]["resourceVersion"] = str(self.revision)
        self._objects[key] = copy.deepcopy(new)
        return new


def timestamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
