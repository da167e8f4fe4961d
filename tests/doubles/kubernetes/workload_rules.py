"""What the API does to Jobs and pods: it fills in defaults, and refuses what can't be run."""

import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from tests.doubles.kubernetes.refusals import Cause, bad_request
from tests.doubles.kubernetes.storage import Object

_POD = "spec.template.spec"
_LABEL = 63
_COUNTS = ("activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
_TOLERATIONS = [
    {
        "key": f"node.kubernetes.io/{key}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 300,
    }
    for key in ("not-ready", "unreachable")
]


def complete_job(new: Object) -> None:
    """Fill in what a server of the recorded version does."""
    meta, spec = new["metadata"], new.setdefault("spec", {})
    _require_types(spec)
    if "selector" in (spec or {}) and "status" in new:
        return  # It has been through here.
    meta["uid"] = str(uuid.uuid4())
    for key, value in (("parallelism", 1), ("completions", 1), ("backoffLimit", 6)):
        spec.setdefault(key, value)
    ours = {"controller-uid": meta["uid"], "job-name": meta.get("name", "")}
    spec.setdefault("selector", {"matchLabels": {"controller-uid": meta["uid"]}})
    template = spec.setdefault("template", {})
    about = template.setdefault("metadata", {})
    labelled = bool(about.get("labels"))
    about["creationTimestamp"] = None
    about["labels"] = {**(about.get("labels") or {}), **ours}
    if not labelled and not meta.get("labels"):
        meta["labels"] = dict(ours)
    complete_pod_spec(template.setdefault("spec", {}))
    new["status"] = {}


def complete_pod_spec(pod: Object) -> None:
    """Fill in what every pod has."""
    for container in pod.get("containers") or ():
        image = container.get("image", "")
        latest = ":" not in image.rpartition("/")[2] or image.endswith(":latest")
        container.setdefault("resources", {})
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
        for one in container.get("env") or ():
            if field := (one.get("valueFrom") or {}).get("fieldRef"):
                field.setdefault("apiVersion", "v1")
    pod.setdefault("terminationGracePeriodSeconds", 30)
    pod.setdefault("dnsPolicy", "ClusterFirst")
    pod.setdefault("securityContext", {})
    pod.setdefault("schedulerName", "default-scheduler")
    if "serviceAccountName" in pod:
        pod.setdefault("serviceAccount", pod["serviceAccountName"])


def complete_pod(new: Object) -> None:
    """Fill in what admission does on top, and the state that a new pod is in."""
    spec = new.setdefault("spec", {})
    complete_pod_spec(spec)
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("serviceAccount", spec["serviceAccountName"])
    spec.setdefault("priority", 0)
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    spec.setdefault("tolerations", [dict(one) for one in _TOLERATIONS])
    new.setdefault("status", {"phase": "Pending", "qosClass": _quality(spec)})


def complete_event(new: Object) -> None:
    """Fill in what only the newer kind of events has."""
    new.setdefault("eventTime", None)
    new.setdefault("reportingComponent", "")
    new.setdefault("reportingInstance", "")


def faults_of_job(new: Object) -> Iterable[Cause]:
    spec = new["spec"]
    pod = spec["template"]["spec"]
    for key in ("parallelism", "completions", *_COUNTS):
        if isinstance(spec.get(key), int) and spec[key] < 0:
            yield Cause.invalid(f"spec.{key}", str(spec[key]), "must be greater than or equal to 0")
    name = new["metadata"].get("name", "")
    if len(name) > _LABEL:
        yield Cause.invalid(
            "spec.template.labels", f'"{name}"', "must be no more than 63 characters"
        )
    yield from _faults_of_containers(pod)
    if pod.get("restartPolicy") not in ("OnFailure", "Never"):
        yield Cause.required(f"{_POD}.restartPolicy", 'valid values: "OnFailure", "Never"')


def kept_of_job(old: Object, new: Object) -> Iterable[Cause]:
    for key in ("selector", "completions", "template"):
        if old["spec"].get(key) != new["spec"].get(key):
            yield Cause.invalid(f"spec.{key}", "", "field is immutable")


def _faults_of_containers(pod: Mapping[str, Any]) -> Iterable[Cause]:
    if not pod.get("containers"):
        yield Cause("FieldValueRequired", f"{_POD}.containers", "Required value")
    seen = set()
    for at, container in enumerate(pod.get("containers") or ()):
        where = f"{_POD}.containers[{at}]"
        name = container.get("name", "")
        if not name:
            yield Cause("FieldValueRequired", f"{where}.name", "Required value")
        elif name in seen:
            yield Cause("FieldValueDuplicate", f"{where}.name", f'Duplicate value: "{name}"')
        seen.add(name)
        if not container.get("image"):
            yield Cause("FieldValueRequired", f"{where}.image", "Required value")


def _require_types(spec: Mapping[str, Any]) -> None:
    """Refuse what the decoder of a server can't read."""
    for key in _COUNTS:
        if key in spec and not isinstance(spec[key], int):
            raise bad_request('Job in version "v1" cannot be handled as a Job: ')
    for container in ((spec.get("template") or {}).get("spec") or {}).get("containers") or ():
        texts = [one.get("value", "") for one in container.get("env") or ()]
        texts += [*(container.get("command") or ()), *(container.get("args") or ())]
        if any(not isinstance(text, str) for text in texts):
            raise bad_request('Job in version "v1" cannot be handled as a Job: ')
        for quantity in ((container.get("resources") or {}).get("limits") or {}).values():
            if not re.fullmatch(r"[+-]?[0-9.]+[eEinumkKMGTP]*[-+]?[0-9]*", str(quantity)):
                raise bad_request('Job in version "v1" cannot be handled as a Job: ')


def _quality(spec: Mapping[str, Any]) -> str:
    named = any(container.get("resources") for container in spec.get("containers") or ())
    return "Burstable" if named else "BestEffort"
