"""What is asked of the cluster for the runs of pipelines, and what its refusals mean."""

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from agent.clouds.kubernetes.wire import Refused, Wire
from agent.errors import AccessDenied, JobError, NotFound, PipelineFailed, StoreUnavailable

Object = dict[str, Any]
T = TypeVar("T")

_TRIES = 4


class Unreadable(Exception):
    """The cluster does not show the log now; the text says why, for the customer's log."""


@dataclass(frozen=True, slots=True)
class Right:
    """What a request needs the agent's account to be allowed."""

    verb: str
    resource: str
    group: str = ""

    def __str__(self) -> str:
        return f"{self.verb} on {self.resource}" + (f" of {self.group}" if self.group else "")


CREATE_JOB = Right("create", "jobs", "batch")
GET_JOB = Right("get", "jobs", "batch")
DELETE_JOB = Right("delete", "jobs", "batch")
LIST_PODS = Right("list", "pods")
GET_LOG = Right("get", "pods/log")
CREATE_SECRET = Right("create", "secrets")


class Cluster:
    """One namespace of a cluster. Safe for concurrent calls.

    Unless it says otherwise, a method raises AccessDenied when the agent lacks a right, which it
    names, StoreUnavailable when there is no answer, and CredentialUnavailable when there is no
    login.
    """

    def __init__(self, wire: Wire, namespace: str | None) -> None:
        self._wire = wire
        self._namespace = namespace

    async def namespace(self) -> str:
        """Return where the Jobs are."""
        return self._namespace or await self._wire.namespace()

    async def create_job(self, job: Object, namespace: str) -> Object | None:
        """Make *job*, or return None when there is one of its name.

        Raises:
            PipelineFailed: The cluster refuses this Job.
        """
        path = f"{_jobs(namespace)}"
        return await self._created(path, job, CREATE_JOB, namespace)

    async def create_secret(self, secret: Object, namespace: str) -> None:
        """Make *secret* unless there is one of its name."""
        await self._created(f"{_core(namespace)}/secrets", secret, CREATE_SECRET, namespace)

    async def job(self, name: str, namespace: str) -> Object | None:
        """Return the Job, None when there is none."""
        with _translated(GET_JOB, namespace):
            try:
                return await self._wire.ask("GET", f"{_jobs(namespace)}/{name}")
            except Refused as refusal:
                if refusal.status == 404:
                    return None
                raise

    async def delete_job(self, job: Object, namespace: str) -> None:
        """Have *job* go after its pods have ended, which get their grace; idempotent."""
        meta = job["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": meta["uid"]},
        }

        async def delete() -> None:
            with _translated(DELETE_JOB, namespace):
                try:
                    path = f"{_jobs(namespace)}/{meta['name']}"
                    await self._wire.ask("DELETE", path, body=body)
                except Refused as refusal:
                    # Gone, or one of another's of that name by now.
                    if refusal.status not in (404, 409):
                        raise

        await _insisting(delete)

    async def pods(self, job: Object, namespace: str) -> tuple[list[Object], str]:
        """Return the pods of *job*, the oldest first, and the version to watch from."""
        meta = job["metadata"]
        with _translated(LIST_PODS, namespace):
            answer = await self._wire.ask("GET", f"{_core(namespace)}/pods", query=_of(meta))
        pods = [pod for pod in answer.get("items") or () if _is_owned(pod, meta["uid"])]
        pods.sort(key=_age)
        return pods, str(answer["metadata"].get("resourceVersion", ""))

    async def change(self, job: Object, namespace: str, *, since: str, patience: float) -> None:
        """Return when a pod of *job* has changed, or after *patience* seconds.

        That is a hint to look again and nothing more: a watch that ends early, for whatever reason,
        ends the wait as well. Without the right to watch, waits to the end.
        """
        query = {
            "watch": "true",
            "resourceVersion": since,
            "timeoutSeconds": str(max(1, math.ceil(patience))),
            **_of(job["metadata"]),
        }
        pieces = self._wire.pieces(f"{_core(namespace)}/pods", query=query, idle=patience)
        try:
            async with asyncio.timeout(patience), aclosing(pieces):
                async for _ in pieces:
                    return
        except TimeoutError:
            return
        except Refused as refusal:
            if refusal.status == 403:
                await asyncio.sleep(patience)

    async def log(
        self,
        pod: str,
        namespace: str,
        *,
        container: str,
        since: int | None,
        follow: bool,
        idle: float,
    ) -> AsyncGenerator[bytes]:
        """Yield the log of a container with its times, from the second *since* on.

        Raises:
            Unreadable: It is not shown now, or not any more.
            TimeoutError: Nothing came for *idle* seconds.
        """
        query = {"container": container, "timestamps": "true"}
        if follow:
            query["follow"] = "true"
        if since is not None:
            query["sinceTime"] = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        path = f"{_core(namespace)}/pods/{pod}/log"
        try:
            with _translated(GET_LOG, namespace, other=False):
                async with aclosing(self._wire.pieces(path, query=query, idle=idle)) as pieces:
                    async for piece in pieces:
                        yield piece
        except Refused as refusal:
            raise Unreadable(f"{refusal.status}: {refusal.message}") from None

    async def events(self, name: str, namespace: str) -> list[Object]:
        """Return the events about the object *name*, none where they may not be read."""
        query = {"fieldSelector": f"involvedObject.name={name}"}
        try:
            answer = await self._wire.ask("GET", f"{_core(namespace)}/events", query=query)
        except Refused:
            return []
        return list(answer.get("items") or ())

    async def _created(self, path: str, new: Object, right: Right, namespace: str) -> Object | None:
        # Of what the server does not know it shall not take the rest.
        query = {"fieldValidation": "Strict", "fieldManager": "cloud-agent"}

        async def create() -> Object | None:
            with _translated(right, namespace):
                try:
                    return await self._wire.ask("POST", path, query=query, body=new)
                except Refused as refusal:
                    if refusal.reason == "AlreadyExists":
                        return None
                    raise

        return await _insisting(create)


async def _insisting(act: Callable[[], Awaitable[T]]) -> T:
    """Do again what went unanswered, a bounded number of times; *act* has to be idempotent."""
    tries = AsyncRetrying(
        retry=retry_if_exception_type(StoreUnavailable),
        stop=stop_after_attempt(_TRIES),
        wait=wait_random_exponential(multiplier=0.2, max=3.0),
        reraise=True,
    )
    return await tries(act)


@contextmanager
def _translated(right: Right, namespace: str, *, other: bool = True) -> Iterator[None]:
    """Turn refusals into ours; without *other* those alone that mean the same everywhere."""
    try:
        yield
    except Refused as refusal:
        error = _meaning(refusal, right, namespace)
        if error is None and not other:
            raise
        raise error or _failed(refusal, right, namespace) from None


def _meaning(refusal: Refused, right: Right, namespace: str) -> JobError | None:
    if refusal.status == 403 and "cannot" in refusal.message:
        return AccessDenied(
            f"the cluster does not permit the agent to {right.verb} {right.resource}",
            detail=f"the agent's account needs {right} in namespace {namespace}: {refusal.message}",
        )
    if refusal.status == 429:
        return StoreUnavailable("the cluster is overloaded", detail=refusal.message)
    return None


def _failed(refusal: Refused, right: Right, namespace: str) -> JobError:
    detail = f"{right} in namespace {namespace}: {refusal.status} {refusal.message}"
    if refusal.status >= 500:
        return StoreUnavailable("the cluster did not answer", detail=detail)
    if refusal.status == 404:
        return NotFound("the cluster has no such namespace", detail=detail)
    if "exceeded quota" in refusal.message:
        return PipelineFailed("the quota of the cluster's namespace is used up", detail=detail)
    if refusal.status == 403:
        return PipelineFailed("the rules of the cluster do not admit this run", detail=detail)
    return PipelineFailed("the cluster refuses the Job that the template describes", detail=detail)


def _of(meta: Object) -> dict[str, str]:
    return {"labelSelector": f"job-name={meta['name']}"}


def _is_owned(pod: Object, uid: str) -> bool:
    # Without its owner it has been left behind by somebody who deleted the Job so.
    owners = pod["metadata"].get("ownerReferences") or ()
    return any(owner["uid"] == uid for owner in owners)


def _age(pod: Object) -> tuple[str, bool, str]:
    # Of two that were made in one second, the one that is over or goes was the first.
    meta = pod["metadata"]
    over = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return meta["creationTimestamp"], not over and "deletionTimestamp" not in meta, meta["name"]


def _jobs(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"


def _core(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}"
