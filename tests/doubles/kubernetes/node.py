"""A scheduler and the kubelet of one node: runs the containers of pods as local processes.

An image of a host below ``invalid`` can't be pulled, and more memory than `CAPACITY` fits nowhere.
"""

import base64
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.doubles.kubernetes.controllers import Controllers, event
from tests.doubles.kubernetes.pod_logs import PodLogs
from tests.doubles.kubernetes.storage import Key, Object, Storage, timestamp

NODE = "node-1"
CAPACITY = 64 * 2**30
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
_TICK = 0.05
_NO_IMAGE = re.compile(r"[^/]*\binvalid(:\d+)?/")


@dataclass
class _Life:
    """One pod that has come to the node."""

    process: "subprocess.Popen[bytes] | None" = None
    killed: bool = False
    ended: threading.Event = field(default_factory=threading.Event)


class Node:
    """Works until it is closed, which kills all that it runs."""

    def __init__(self, storage: Storage, controllers: Controllers, logs: PodLogs) -> None:
        self._storage = storage
        self._controllers = controllers
        self._logs = logs
        self._lives: dict[str, _Life] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with self._storage.lock:
            self._closed = True
            self._storage.lock.notify_all()
        self._thread.join()
        for life in self._lives.values():
            _kill(life, signal.SIGKILL)
            if life.process is not None:
                life.ended.wait(10)

    def _work(self) -> None:
        while not self._closed:
            with self._storage.lock:
                self._controllers.reconcile()
                for key in self._storage.keys("", "pods"):
                    self._look_at(key)
                if not self._closed:
                    self._storage.lock.wait(_TICK)

    def _look_at(self, key: Key) -> None:
        pod = self._storage.get(key)
        if pod is None or pod["status"]["phase"] in ("Succeeded", "Failed"):
            return
        life = self._lives.get(pod["metadata"]["uid"])
        if pod["metadata"].get("deletionTimestamp"):
            self._terminate(key, pod, life)
        elif not pod["spec"].get("nodeName"):
            self._schedule(key, pod)
        elif life is None or life.process is None:
            self._start(key, pod, life or _Life())

    def _schedule(self, key: Key, pod: Object) -> None:
        wanted = sum(_memory(container) for container in pod["spec"]["containers"])
        if wanted <= CAPACITY:
            pod["spec"]["nodeName"] = NODE
            _condition(pod, "PodScheduled", "True", self._now())
            self._storage.replace(key, pod)
        elif not pod["status"].get("conditions"):
            message = "0/1 nodes are available: 1 Insufficient memory."
            _condition(pod, "PodScheduled", "False", self._now(), "Unschedulable", message)
            self._storage.replace(key, pod)
            self._tell(pod, "FailedScheduling", message)

    def _start(self, key: Key, pod: Object, life: _Life) -> None:
        self._lives[pod["metadata"]["uid"]] = life
        container = pod["spec"]["containers"][0]
        if _NO_IMAGE.match(container["image"]):
            self._no_image(key, pod, container)
            return
        try:
            environment = dict(self._environment(key.namespace, pod, container))
        except LookupError as missing:
            self._wait(key, pod, "CreateContainerConfigError", str(missing.args[0]))
            return
        argv = [*container.get("command", ()), *container.get("args", ())]
        life.process = subprocess.Popen(
            [_expanded(text, environment) for text in argv],
            env={"PATH": os.environ["PATH"], **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._report(key, pod, "Running", {"running": {"startedAt": self._now()}})
        watch = threading.Thread(target=self._see_through, args=(key, pod, life), daemon=True)
        watch.start()

    def _see_through(self, key: Key, pod: Object, life: _Life) -> None:
        """Keep the output of a pod's process and report its end; in a thread of its own."""
        process = life.process
        assert process is not None
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._logs.append(pod["metadata"]["uid"], line)
        code = process.wait()
        exit_code = 128 - code if code < 0 else code
        with self._storage.lock:
            now = self._storage.get(key)
            if now is not None and now["metadata"]["uid"] == pod["metadata"]["uid"]:
                state = {
                    "exitCode": exit_code,
                    "reason": "Error" if code else "Completed",
                    "startedAt": self._now(),
                    "finishedAt": self._now(),
                }
                phase = "Failed" if code else "Succeeded"
                self._report(key, now, phase, {"terminated": state})
                if now["metadata"].get("deletionTimestamp"):
                    self._controllers.delete_pod(key, 0)
            self._logs.end(pod["metadata"]["uid"])
            self._controllers.reconcile()
        life.ended.set()

    def _terminate(self, key: Key, pod: Object, life: _Life | None) -> None:
        if life is None or life.process is None:
            self._controllers.delete_pod(key, 0)
        elif not life.killed:
            life.killed = True
            _kill(life, signal.SIGTERM)
            grace = pod["metadata"]["deletionGracePeriodSeconds"]
            timer = threading.Timer(grace, _kill, (life, signal.SIGKILL))
            timer.daemon = True
            timer.start()

    def _no_image(self, key: Key, pod: Object, container: Object) -> None:
        image = container["image"]
        message = f'failed to pull and unpack image "{image}": not found'
        statuses = pod["status"].get("containerStatuses")
        if not statuses:
            self._wait(key, pod, "ErrImagePull", message)
            self._tell(pod, "Failed", f'Failed to pull image "{image}": {message}')
        elif statuses[0]["state"]["waiting"]["reason"] == "ErrImagePull":
            self._wait(key, pod, "ImagePullBackOff", f'Back-off pulling image "{image}"')

    def _environment(
        self, namespace: str, pod: Object, container: Object
    ) -> Iterator[tuple[str, str]]:
        known: dict[str, str] = {}
        for one in container.get("env") or ():
            if "valueFrom" in one:
                value = self._looked_up(namespace, pod, one["valueFrom"])
            else:
                value = _expanded(one.get("value", ""), known)
            known[one["name"]] = value
            yield one["name"], value

    def _looked_up(self, namespace: str, pod: Object, source: Mapping[str, Any]) -> str:
        if field_ref := source.get("fieldRef"):
            assert field_ref["fieldPath"] == "metadata.name"
            return str(pod["metadata"]["name"])
        ref = source["secretKeyRef"]
        secret = self._storage.get(Key("", "secrets", namespace, ref["name"]))
        if secret is None:
            raise LookupError(f'secret "{ref["name"]}" not found')
        return base64.b64decode(secret["data"][ref["key"]]).decode()

    def _wait(self, key: Key, pod: Object, reason: str, message: str) -> None:
        self._report(key, pod, "Pending", {"waiting": {"reason": reason, "message": message}})

    def _report(self, key: Key, pod: Object, phase: str, state: Mapping[str, Any]) -> None:
        container = pod["spec"]["containers"][0]
        pod["status"]["phase"] = phase
        pod["status"]["containerStatuses"] = [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "state": dict(state),
                "lastState": {},
                "ready": "running" in state,
                "started": "running" in state,
                "restartCount": 0,
            }
        ]
        self._storage.replace(key, pod)

    def _tell(self, pod: Object, reason: str, message: str) -> None:
        told = event(pod, reason, message, "Warning", "kubelet", self._storage.now())
        meta = told["metadata"]
        self._storage.create(Key("", "events", meta["namespace"], meta["name"]), told)

    def _now(self) -> str:
        return timestamp(self._storage.now())


def _kill(life: _Life, number: int) -> None:
    if life.process is None or life.process.poll() is not None:
        return
    with suppress(ProcessLookupError):
        if number == signal.SIGKILL:
            os.killpg(life.process.pid, number)
        else:
            os.kill(life.process.pid, number)


def _memory(container: Object) -> int:
    text = str((container["resources"].get("requests") or {}).get("memory", "0"))
    number, unit = re.fullmatch(r"(\d+)(\D*)", text).groups()  # type: ignore[union-attr]
    return int(number) * _UNITS.get(unit, 1)


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    """Put variables in as the kubelet does: ``$(NAME)`` is one, and ``$$`` a dollar."""

    def value(match: "re.Match[str]") -> str:
        if match[0] == "$$":
            return "$"
        return environment.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", value, text)


def _condition(
    pod: Object, kind: str, status: str, now: str, reason: str = "", message: str = ""
) -> None:
    condition = {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": now}
    if reason:
        condition |= {"reason": reason, "message": message}
    others = [one for one in pod["status"].get("conditions") or () if one["type"] != kind]
    pod["status"]["conditions"] = [*others, condition]
