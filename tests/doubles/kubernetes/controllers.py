"""What the controllers of a cluster do: make the pods of Jobs, judge Jobs by them, clean up.

Each is a plain step on the objects as they stand, so that it can follow every change at once; only
deadlines and clean-up need the clock.
"""

import copy
import time
from datetime import datetime, timedelta
from typing import Any

from tests.doubles.kubernetes.storage import Key, Object, Storage, timestamp
from tests.doubles.kubernetes.workload_rules import complete_pod

_LATE = ("DeadlineExceeded", "Job was active longer than specified deadline")
_TOO_OFTEN = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")


class Controllers:
    """Of Jobs, of owned objects, and of what is to be removed after a time."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def reconcile(self) -> None:
        """Bring about what follows from the objects as they are, and from the time it is."""
        while True:
            before = self._storage.revision
            for key in self._storage.keys("batch", "jobs"):
                self._job(key)
            self._collect()
            if self._storage.revision == before:
                return

    def _job(self, key: Key) -> None:
        job = self._storage.get(key)
        if job is None:
            return
        pods = self._pods_of(job)
        active = [pod for pod in pods if _is_active(pod)]
        if job["metadata"].get("deletionTimestamp"):
            if not active:
                self._status(key, job, active=None)
        elif condition := _ended(job):
            self._clean_up(key, job, condition)
        else:
            self._judge(key, job, pods, active)

    def _judge(self, key: Key, job: Object, pods: list[Object], active: list[Object]) -> None:
        spec, now = job["spec"], self._storage.now()
        failed = sum(_phase(pod) == "Failed" for pod in pods)
        started = job["status"].get("startTime") or timestamp(now)
        deadline = spec.get("activeDeadlineSeconds")
        if any(_phase(pod) == "Succeeded" for pod in pods):
            done = {"completionTime": timestamp(now), "active": None, "succeeded": 1}
            self._end(key, job, {"type": "Complete"}, startTime=started, **done)
            self._tell(job, "Completed", "Job completed", "Normal")
        elif failed > spec["backoffLimit"]:
            counts = {"active": None, "failed": failed}
            self._end(key, job, _failure(*_TOO_OFTEN), startTime=started, **counts)
            self._tell(job, *_TOO_OFTEN, "Warning")
        elif deadline is not None and now >= _moment(started) + timedelta(seconds=deadline):
            for pod in active:
                self.delete_pod(_key_of(pod, "", "pods"))
                self._tell(job, "SuccessfulDelete", f"Deleted pod: {_name(pod)}", "Normal")
            lost = failed + sum(pod["spec"].get("nodeName") is not None for pod in active)
            counts = {"failed": lost or None, "active": None}
            self._end(key, job, _failure(*_LATE), startTime=started, **counts)
            self._tell(job, *_LATE, "Warning")
        else:
            if not active:
                active = self._pod_for(job)
            if not active and not pods:
                return
            counts = {"active": len(active) or None, "failed": failed or None}
            self._status(key, job, startTime=started, **counts)

    def _pod_for(self, job: Object) -> list[Object]:
        """Make the next pod of *job*, or tell why not."""
        meta, template = job["metadata"], copy.deepcopy(job["spec"]["template"])
        # In the order of the alphabet, so that lists of them have an order, too.
        name = f"{meta['name']}-{self._storage.revision % 16**5:05x}"
        if why := self._refusal(meta["namespace"], name, template["spec"]):
            self._tell(job, "FailedCreate", f"Error creating: pods {why}", "Warning")
            return []
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": meta["name"],
            "uid": meta["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
        about = {key: value for key, value in template["metadata"].items() if value}
        about |= {"name": name, "generateName": f"{meta['name']}-", "namespace": meta["namespace"]}
        pod = {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {**about, "ownerReferences": [owner]},
            "spec": template["spec"],
        }
        complete_pod(pod)
        self._storage.create(_key_of(pod, "", "pods"), pod)
        self._tell(job, "SuccessfulCreate", f"Created pod: {name}", "Normal")
        return [pod]

    def _refusal(self, namespace: str, name: str, spec: Object) -> str | None:
        account = spec.get("serviceAccountName", "default")
        if self._storage.get(Key("", "serviceaccounts", namespace, account)) is None:
            return (
                f'"{name[:-5]}" is forbidden: error looking up service account '
                f'{namespace}/{account}: serviceaccount "{account}" not found'
            )
        used = len(self._storage.list("", "pods", namespace))
        for quota in self._storage.list("", "resourcequotas", namespace):
            limit = quota["spec"].get("hard", {}).get("pods")
            if limit is not None and used >= int(limit):
                return (
                    f'"{name}" is forbidden: exceeded quota: {quota["metadata"]["name"]}, '
                    f"requested: pods=1, used: pods={used}, limited: pods={limit}"
                )
        return None

    def _tell(self, job: Object, reason: str, message: str, kind: str) -> None:
        told = event(job, reason, message, kind, "job-controller", self._storage.now())
        known = self._storage.list("", "events", job["metadata"]["namespace"])
        same = ("involvedObject", "reason")
        if reason == "FailedCreate" and any(
            all(one[key] == told[key] for key in same) for one in known
        ):
            return
        self._storage.create(_key_of(told, "", "events"), told)

    def _end(self, key: Key, job: Object, condition: Object, **counts: Any) -> None:
        now = timestamp(self._storage.now())
        whole = {
            "type": condition["type"],
            "status": "True",
            "lastProbeTime": now,
            "lastTransitionTime": now,
            **condition,
        }
        self._status(key, job, conditions=[whole], **counts)

    def _status(self, key: Key, job: Object, **values: Any) -> None:
        status = {**job["status"], **values}
        job["status"] = {name: value for name, value in status.items() if value is not None}
        self._storage.replace(key, job)

    def _clean_up(self, key: Key, job: Object, condition: Object) -> None:
        keep = job["spec"].get("ttlSecondsAfterFinished")
        ended = _moment(condition["lastTransitionTime"])
        if keep is not None and self._storage.now() >= ended + timedelta(seconds=keep):
            self.mark(key, job, "foregroundDeletion")

    def mark(self, key: Key, thing: Object, finalizer: str) -> Object:
        """Have *thing* go when *finalizer* is done with; idempotent."""
        meta = thing["metadata"]
        if not meta.get("deletionTimestamp"):
            meta["deletionTimestamp"] = timestamp(self._storage.now())
            meta["deletionGracePeriodSeconds"] = 0
            meta["finalizers"] = [finalizer]
            self._storage.replace(key, thing)
        return thing

    def delete_pod(self, key: Key, grace: int | None = None) -> Object:
        """Have a pod end within its grace, or at once where no node has it."""
        pod = self._storage.get(key)
        assert pod is not None
        meta, spec = pod["metadata"], pod["spec"]
        seconds = spec["terminationGracePeriodSeconds"] if grace is None else grace
        if not spec.get("nodeName") or _phase(pod) in ("Succeeded", "Failed"):
            seconds = 0
        if seconds == 0 or not meta.get("deletionTimestamp"):
            end = self._storage.now() + timedelta(seconds=seconds)
            meta["deletionTimestamp"] = timestamp(end)
            meta["deletionGracePeriodSeconds"] = seconds
            self._storage.replace(key, pod)
        if seconds == 0:
            self._storage.remove(key)
        return pod

    def _collect(self) -> None:
        """Remove what is owned by nobody any more, and owners whose last one has gone."""
        self._set_free()
        uids = self._storage.uids()
        going = {
            job["metadata"]["uid"]: key
            for key in self._storage.keys("batch", "jobs")
            if "foregroundDeletion"
            in ((job := self._storage.get(key) or {}).get("metadata") or {}).get("finalizers", ())
        }
        held = set()
        for key, one in self._storage.owned():
            owners = one["metadata"]["ownerReferences"]
            held |= {owner["uid"] for owner in owners if owner.get("blockOwnerDeletion")}
            if all(owner["uid"] in going or owner["uid"] not in uids for owner in owners):
                self._remove(key, one)
        for uid, key in going.items():
            if uid not in held:
                self._storage.remove(key)

    def _set_free(self) -> None:
        """Take their owner from what is owned by a Job that goes without it."""
        for key in self._storage.keys("batch", "jobs"):
            meta = (self._storage.get(key) or {})["metadata"]
            if "orphan" not in meta.get("finalizers", ()):
                continue
            for place, one in self._storage.owned():
                owners = one["metadata"].pop("ownerReferences")
                if left := [owner for owner in owners if owner["uid"] != meta["uid"]]:
                    one["metadata"]["ownerReferences"] = left
                self._storage.replace(place, one)
            self._storage.remove(key)

    def _remove(self, key: Key, one: Object) -> None:
        if key.plural != "pods":
            self._storage.remove(key)
        elif not one["metadata"].get("deletionTimestamp"):
            self.delete_pod(key)

    def _pods_of(self, job: Object) -> list[Object]:
        uid = job["metadata"]["uid"]
        pods = self._storage.list("", "pods", job["metadata"]["namespace"])
        return [
            pod
            for pod in pods
            if any(owner["uid"] == uid for owner in pod["metadata"].get("ownerReferences") or ())
        ]


def event(
    about: Object, reason: str, message: str, kind: str, source: str, now: datetime
) -> Object:
    """Return an event as controllers and the kubelet write them."""
    meta = about["metadata"]
    return {
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {
            "name": f"{meta['name']}.{time.time_ns():016x}",
            "namespace": meta["namespace"],
        },
        "involvedObject": {
            "kind": about["kind"],
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "apiVersion": about["apiVersion"],
            "resourceVersion": meta["resourceVersion"],
        },
        "reason": reason,
        "message": message,
        "source": {"component": source},
        "firstTimestamp": timestamp(now),
        "lastTimestamp": timestamp(now),
        "count": 1,
        "type": kind,
        "eventTime": None,
        "reportingComponent": "",
        "reportingInstance": "",
    }


def _key_of(thing: Object, group: str, plural: str) -> Key:
    return Key(group, plural, thing["metadata"]["namespace"], thing["metadata"]["name"])


def _name(thing: Object) -> str:
    return str(thing["metadata"]["name"])


def _phase(pod: Object) -> str:
    return str(pod["status"].get("phase"))


def _is_active(pod: Object) -> bool:
    ended = _phase(pod) in ("Succeeded", "Failed")
    return not ended and not pod["metadata"].get("deletionTimestamp")


def _ended(job: Object) -> Object | None:
    conditions = job["status"].get("conditions") or [None]
    return conditions[0]


def _failure(reason: str, message: str) -> Object:
    return {"type": "Failed", "reason": reason, "message": message}


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
