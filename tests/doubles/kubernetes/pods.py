"""What stands below a pod: its log, its binding to a node, its status."""

import json
from datetime import datetime
from typing import Any

from tests.doubles.kubernetes import refusals
from tests.doubles.kubernetes.controllers import Controllers
from tests.doubles.kubernetes.objects import Answer
from tests.doubles.kubernetes.pod_logs import PodLogs
from tests.doubles.kubernetes.refusals import Cause
from tests.doubles.kubernetes.requests import Request
from tests.doubles.kubernetes.storage import Key, Object, Storage, timestamp

LOG_PARAMETERS = {
    "container",
    "follow",
    "timestamps",
    "sinceTime",
    "sinceSeconds",
    "tailLines",
    "limitBytes",
    "previous",
}
_LEAST = {"tailLines": 0, "limitBytes": 1, "sinceSeconds": 1}
_DONE = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Success",
    "code": 201,
}
_BY_KEY = {"conditions": "type", "containerStatuses": "name"}


class Pods:
    """Each subresource is a method; all take the pod as it is and the request."""

    def __init__(self, storage: Storage, controllers: Controllers, logs: PodLogs) -> None:
        self._storage = storage
        self._controllers = controllers
        self._logs = logs

    def log(self, pod: Object, request: Request) -> Answer:
        query = request.query
        _require_options(pod, query)
        name = _container(pod, query.get("container"))
        if not pod["spec"].get("nodeName"):
            return Answer(204, None)
        pod_name = pod["metadata"]["name"]
        about = f'container "{name}" in pod "{pod_name}"'
        if query.get("previous") == "true":
            raise refusals.bad_request(f"previous terminated {about} not found")
        if waiting := _waiting(pod, name):
            raise refusals.bad_request(f"{about} is waiting to start: {waiting}")
        since = query.get("sinceTime")
        pieces = self._logs.read(
            pod["metadata"]["uid"],
            # It is taken to the second, however precisely it is given.
            since=datetime.fromisoformat(since[:19] + "+00:00") if since else None,
            follow=query.get("follow") == "true",
            timestamps=query.get("timestamps") == "true",
        )
        self._logs.requests.append(dict(query))
        return Answer(200, pieces, {"Content-Type": "text/plain"})

    def binding(self, pod: Object, request: Request) -> Answer:
        """Do what the scheduler decides."""
        pod["spec"]["nodeName"] = json.loads(request.body)["target"]["name"]
        now = timestamp(self._storage.now())
        condition = {"type": "PodScheduled", "status": "True"}
        condition |= {"lastProbeTime": None, "lastTransitionTime": now}
        _merge(pod["status"], {"conditions": [condition]})
        self._replace(pod)
        return Answer(201, dict(_DONE))

    def eviction(self, pod: Object, request: Request) -> Answer:
        """Have the pod go as if it were deleted; there are no budgets here."""
        asked = json.loads(request.body)
        if asked["apiVersion"] != "policy/v1beta1":
            raise refusals.bad_request('Eviction in version "v1" cannot be handled as a Eviction')
        meta = pod["metadata"]
        grace = (asked.get("deleteOptions") or {}).get("gracePeriodSeconds")
        self._controllers.delete_pod(Key("", "pods", meta["namespace"], meta["name"]), grace)
        return Answer(201, dict(_DONE))

    def status(self, pod: Object, request: Request) -> Answer:
        """Take what a kubelet says, by strategic merge."""
        _merge(pod["status"], json.loads(request.body)["status"])
        return Answer(200, self._replace(pod))

    def _replace(self, pod: Object) -> Object:
        meta = pod["metadata"]
        return self._storage.replace(Key("", "pods", meta["namespace"], meta["name"]), pod)


def _merge(status: dict[str, Any], patch: dict[str, Any]) -> None:
    for name, value in patch.items():
        if name in _BY_KEY:
            key = _BY_KEY[name]
            fresh = {one[key]: one for one in value}
            old = [{**one, **fresh.pop(one[key], {})} for one in status.get(name) or ()]
            added = [*fresh.values()]
            status[name] = [*added, *old] if name == "conditions" else [*old, *added]
        else:
            status[name] = value


def _container(pod: Object, wanted: str | None) -> str:
    names = [one["name"] for one in pod["spec"]["containers"]]
    pod_name = pod["metadata"]["name"]
    if wanted is None and len(names) > 1:
        raise refusals.bad_request(
            f"a container name must be specified for pod {pod_name}, choose one of: "
            f"[{' '.join(names)}]"
        )
    if wanted is not None and wanted not in names:
        raise refusals.bad_request(f"container {wanted} is not valid for pod {pod_name}")
    return str(wanted or names[0])


def _waiting(pod: Object, name: str) -> str | None:
    for one in pod["status"].get("containerStatuses") or ():
        if one["name"] == name:
            return str(one["state"]["waiting"]["reason"]) if "waiting" in one["state"] else None
    return "ContainerCreating"


def _require_options(pod: Object, query: Any) -> None:
    causes = []
    for name, least in _LEAST.items():
        if name not in query:
            continue
        try:
            value = int(query[name])
        except ValueError:
            message = f'strconv.ParseInt: parsing "{query[name]}": invalid syntax'
            raise refusals.bad_request(message) from None
        if value < least:
            than = "greater than or equal to 0" if least == 0 else "greater than 0"
            causes.append(Cause.invalid(name, str(value), f"must be {than}"))
    if "sinceTime" in query and "sinceSeconds" in query:
        causes.append(
            Cause.forbidden("[]", "at most one of `sinceTime` or `sinceSeconds` may be specified")
        )
    if causes:
        raise refusals.invalid("", "PodLogOptions", pod["metadata"]["name"], causes)
