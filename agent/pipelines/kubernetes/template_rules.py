"""What a template of a Job must be so that the agent can run it, and what parameters may reach.

The cluster has the last word on everything else; it is asked to refuse what it does not know.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from agent.pipelines.kubernetes.template_source import Where

Fault = tuple[Where, str]

OUR_PREFIX = "cloud-agent/"
POD: Where = ("spec", "template", "spec")
_CONTAINERS = ("initContainers", "containers")
_TOP = {"apiVersion": "batch/v1", "kind": "Job"}
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NUMBERS = ("backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished")
_NOT_TO_BE_SET = {
    "selector": "the cluster makes it",
    "manualSelector": "the cluster makes the selector",
    "suspend": "the agent starts the Job at once",
    "completionMode": "the agent follows one pod at a time",
}


def faults_of(template: Any, names: Iterable[str]) -> Iterator[Fault]:
    """Yield what is wrong with *template*, where *names* are those of the parameters."""
    if not isinstance(template, dict):
        yield (), "should be a Job"
        return
    yield from _faults_of_top(template)
    spec = template.get("spec")
    pod = spec.get("template", {}) if isinstance(spec, dict) else {}
    pod = pod.get("spec") if isinstance(pod, dict) else None
    if not isinstance(spec, dict) or not isinstance(pod, dict):
        yield POD, "should be there"
        return
    yield from _faults_of_spec(spec)
    yield from _faults_of_pod(pod)
    yield from _stray(template, frozenset(names), ())


def containers(template: Mapping[str, Any]) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Yield all containers of a template without faults, the first ones to run first."""
    pod = template["spec"]["template"]["spec"]
    for kind in _CONTAINERS:
        for at, container in enumerate(pod.get(kind) or ()):
            yield (*POD, kind, at), container


def has_placeholder(text: str, names: Iterable[str]) -> bool:
    """Say whether a value of one of the parameters *names* is put into *text*."""
    return any(name in names for name in _PLACEHOLDER.findall(text))


def _faults_of_top(template: Mapping[str, Any]) -> Iterator[Fault]:
    for key, wanted in _TOP.items():
        if template.get(key) != wanted:
            yield (key,), f"should be {wanted}"
    for key in template.keys() - {*_TOP, "metadata", "spec"}:
        yield (key,), "is no part of a Job's template"
    metadata = template.get("metadata") or {}
    if not isinstance(metadata, dict):
        yield ("metadata",), "should be a mapping"
        return
    for key in metadata.keys() - {"labels", "annotations", "namespace"}:
        yield ("metadata", key), "is the agent's to set; labels, annotations and namespace are not"
    for key in ("labels", "annotations"):
        for name in metadata.get(key) or {}:
            if str(name).startswith(OUR_PREFIX):
                yield ("metadata", key, str(name)), f"{OUR_PREFIX} is the agent's own"


def _faults_of_spec(spec: Mapping[str, Any]) -> Iterator[Fault]:
    for key, why in _NOT_TO_BE_SET.items():
        if key in spec:
            yield ("spec", key), f"can't be set: {why}"
    for key in ("parallelism", "completions"):
        if spec.get(key, 1) != 1:
            yield ("spec", key), "should be 1: the agent follows one pod at a time"
    for key in _NUMBERS:
        if not _is_count(spec.get(key, 0)):
            yield ("spec", key), "should be a whole number, 0 or more"


def _faults_of_pod(pod: Mapping[str, Any]) -> Iterator[Fault]:
    if pod.get("restartPolicy") != "Never":
        yield (
            (*POD, "restartPolicy"),
            "should be Never: of a container that is started again the cluster keeps no whole log; "
            "backoffLimit gives further attempts",
        )
    if not pod.get("containers"):
        yield (*POD, "containers"), "should have one container at least"
    for kind in _CONTAINERS:
        found = pod.get(kind) or []
        if not isinstance(found, list):
            yield (*POD, kind), "should be a list"
            continue
        for at, container in enumerate(found):
            yield from _faults_of_container((*POD, kind, at), container)


def _faults_of_container(where: Where, container: Any) -> Iterator[Fault]:
    if not isinstance(container, dict):
        yield where, "should be a mapping"
        return
    for key in ("name", "image"):
        if not isinstance(container.get(key), str):
            yield (*where, key), "should be text"
    for key in ("command", "args"):
        yield from _faults_of_texts((*where, key), container.get(key) or [])
    env = container.get("env") or []
    if not isinstance(env, list):
        yield (*where, "env"), "should be a list"
        return
    for at, one in enumerate(env):
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            yield (*where, "env", at), "should have a name"
        elif not isinstance(one.get("value", ""), str):
            yield (*where, "env", at, "value"), "should be text; put it into quotes"


def _faults_of_texts(where: Where, texts: Any) -> Iterator[Fault]:
    if not isinstance(texts, list):
        yield where, "should be a list"
        return
    for at, text in enumerate(texts):
        if not isinstance(text, str):
            yield (*where, at), "should be text; put it into quotes"


def _stray(value: Any, names: frozenset[str], where: Where) -> Iterator[Fault]:
    """Yield the places where a parameter stands and can't."""
    if isinstance(value, dict):
        for key, below in value.items():
            if has_placeholder(str(key), names):
                yield (*where, str(key)), "a parameter can't stand in a key"
            yield from _stray(below, names, (*where, str(key)))
    elif isinstance(value, list):
        for at, below in enumerate(value):
            yield from _stray(below, names, (*where, at))
    elif isinstance(value, str) and has_placeholder(value, names):
        if not _may_hold_parameters(where):
            yield where, "a parameter can stand in args and in values of env alone"
        elif "$(" in value:
            yield where, "a parameter and $(...) can't stand in one value"


def _may_hold_parameters(where: Where) -> bool:
    match where[len(POD) :]:
        case ("containers" | "initContainers", int(), "args", int()):
            return where[: len(POD)] == POD
        case ("containers" | "initContainers", int(), "env", int(), "value"):
            return where[: len(POD)] == POD
    return False


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def names_of(env: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the names of the variables that *env* sets."""
    return {str(one["name"]) for one in env}
