"""The objects that one run is in the cluster: a Job, and a Secret where its environment needs one.

Both have one name, which comes of the run's alone, so that nobody makes them twice.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from agent.errors import UsageError
from agent.pipelines.kubernetes.template import JobTemplate
from agent.pipelines.kubernetes.template_rules import OUR_PREFIX, names_of
from agent.secret import Secret
from agent.secret_reference import SecretReference

Object = dict[str, Any]

RUN = f"{OUR_PREFIX}run"
PIPELINE = f"{OUR_PREFIX}pipeline"
DIGEST = f"{OUR_PREFIX}digest"
RUN_ID = "CLOUD_AGENT_RUN_ID"
DEFAULT_TIMEOUT = 86400.0
DEFAULT_KEEP = 86400.0
DEFAULT_GRACE = 30.0
LEAST_KEEP = 60.0
"""Long enough for the agent to see the end, and for a repeated start to meet the Job."""

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_SLUG = 30


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, each None where the template may say."""

    timeout: float | None = None
    stop_grace: float | None = None
    keep: float | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """What the container gets beside what the template says."""

    plain: Mapping[str, str] = field(default_factory=dict)
    secret: Mapping[str, SecretReference] = field(default_factory=dict)


class Manifest:
    """Makes the objects of each run of one pipeline."""

    def __init__(
        self,
        pipeline: str,
        template: JobTemplate,
        *,
        container: str | None,
        environment: Environment,
        limits: Limits,
    ) -> None:
        """Raises UsageError when settings and template contradict each other."""
        self._pipeline = pipeline
        self._template = template
        self._environment = environment
        spec = template.job["spec"]
        pod = spec["template"]["spec"]
        self.timeout = _one("timeout", limits.timeout, spec, "activeDeadlineSeconds")
        self.stop_grace = _one(
            "stop_grace", limits.stop_grace, pod, "terminationGracePeriodSeconds"
        )
        self.keep = _one("keep", limits.keep, spec, "ttlSecondsAfterFinished")
        if self.keep < LEAST_KEEP:
            raise UsageError(f"keep: should be {LEAST_KEEP:.0f}s at least")
        self.container = _chosen(pod["containers"], container)
        self.namespace: str | None = (template.job.get("metadata") or {}).get("namespace")
        self._refuse_doubles()

    def job(self, run: str, parameters: Mapping[str, JsonValue]) -> Object:
        """Return the Job of *run*.

        Raises:
            BadParameters: A parameter is missing, unknown, or does not fit.
            PipelineFailed: A schema is wrong.
        """
        job = self._template.filled(parameters)
        about = {RUN: run, PIPELINE: self._pipeline, DIGEST: digest(self._pipeline, parameters)}
        _describe(job, about)
        job["metadata"]["name"] = job_name(run)
        job["metadata"].pop("namespace", None)
        spec = job["spec"]
        spec.setdefault("backoffLimit", 0)
        spec["activeDeadlineSeconds"] = max(1, round(self.timeout))
        spec["ttlSecondsAfterFinished"] = round(self.keep)
        _describe(spec["template"], {RUN: run, PIPELINE: self._pipeline})
        pod = spec["template"]["spec"]
        pod["terminationGracePeriodSeconds"] = round(self.stop_grace)
        pod.setdefault("automountServiceAccountToken", False)
        self._complete_environment(pod, run)
        return job

    def secret(self, job: Object, values: Sequence[Secret]) -> Object | None:
        """Return the Secret with *values*, one for each reference, or None where there is none.

        It is owned by *job*, as the cluster made it, and goes with it.
        """
        if not self._environment.secret:
            return None
        meta = job["metadata"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"]}
        texts = zip(self._environment.secret, values, strict=True)
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": meta["name"],
                "labels": {"app.kubernetes.io/managed-by": "cloud-agent"},
                "ownerReferences": [owner],
            },
            "immutable": True,
            "data": {
                name: base64.b64encode(value.reveal().encode()).decode() for name, value in texts
            },
        }

    @property
    def references(self) -> list[SecretReference]:
        """What the Secret of a run is made of."""
        return list(self._environment.secret.values())

    def _complete_environment(self, pod: Object, run: str) -> None:
        container = next(one for one in pod["containers"] if one["name"] == self.container)
        env = container.setdefault("env", [])
        plain = {**self._environment.plain, RUN_ID: run}
        env += [{"name": name, "value": text.replace("$", "$$")} for name, text in plain.items()]
        env += [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": job_name(run), "key": name}}}
            for name in self._environment.secret
        ]

    def _refuse_doubles(self) -> None:
        pod = self._template.job["spec"]["template"]["spec"]
        container = next(one for one in pod["containers"] if one["name"] == self.container)
        ours = {*self._environment.plain, *self._environment.secret, RUN_ID}
        if twice := ours & names_of(container.get("env") or ()):
            raise UsageError(f"environment: {min(twice)} is set by the template")


def job_name(run: str) -> str:
    """Return what the objects of *run* are called: a DNS label that no other run has."""
    slug = re.sub("[^a-z0-9]+", "-", run.lower()).strip("-")[:_SLUG].rstrip("-")
    return f"run-{slug}-{hashlib.sha256(run.encode()).hexdigest()[:16]}"


def digest(pipeline: str, parameters: Mapping[str, JsonValue]) -> str:
    """Return what tells whether two starts of one name asked for the same."""
    asked = json.dumps([pipeline, dict(parameters)], sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(asked.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _describe(thing: Object, annotations: Mapping[str, str]) -> None:
    meta = thing["metadata"] = dict(thing.get("metadata") or {})
    # Not every name can be a label's value; for those there are the annotations.
    labels = {
        key: value
        for key, value in annotations.items()
        if _LABEL.fullmatch(value) and key != DIGEST
    }
    ours = {"app.kubernetes.io/managed-by": "cloud-agent", **labels}
    meta["labels"] = {**(meta.get("labels") or {}), **ours}
    meta["annotations"] = {**(meta.get("annotations") or {}), **annotations}


_DEFAULTS = {"timeout": DEFAULT_TIMEOUT, "stop_grace": DEFAULT_GRACE, "keep": DEFAULT_KEEP}


def _one(name: str, setting: float | None, holder: Mapping[str, Any], key: str) -> float:
    """Return what the settings or the template say, whichever does."""
    written = holder.get(key)
    if setting is not None and written is not None and setting != written:
        raise UsageError(f"{name}: the template says {key}: {written}; leave one of them out")
    return float(next(one for one in (setting, written, _DEFAULTS[name]) if one is not None))


def _chosen(containers: Sequence[Mapping[str, Any]], wanted: str | None) -> str:
    names = [str(one["name"]) for one in containers]
    if wanted is not None and wanted not in names:
        raise UsageError(f"container: the template has no {wanted}; it has {', '.join(names)}")
    if wanted is None and len(names) > 1:
        raise UsageError(f"container: name the one whose log is read: {', '.join(names)}")
    return wanted or names[0]
