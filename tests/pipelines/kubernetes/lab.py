"""Pipelines of a cluster for tests: in a namespace of their own, run by any number of agents."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from agent.config.connectors import KubernetesConnector
from agent.config.pipelines import KubernetesPipeline
from agent.connectors.open import open_connectors
from agent.pipelines.base import PipelineRunner
from agent.pipelines.kubernetes.follower import Times
from agent.pipelines.kubernetes.manifest import job_name
from agent.pipelines.kubernetes.open import open_kubernetes_runner
from agent.pipelines.kubernetes.runner import Hold, KubernetesRunner
from agent.pipelines.run_directories import RunDirectories
from agent.pipelines.run_directory import RunDirectory
from agent.secret import Secret
from agent.secret_reference import SecretReference
from agent.secrets.base import Held
from agent.secrets.open import open_secret_stores
from tests.servers.kubernetes import Cluster

IMAGE = os.environ.get("CLOUD_AGENT_TEST_IMAGE", "docker.io/library/busybox:1.36")
"""Of a real cluster; the double runs local programs instead."""
NO_IMAGE = "registry.invalid/nothing:1"
QUICK = Times(look=1.0, again=0.05, pause=0.05, idle=5.0, unreadable=1.0, retry=0.2)

RIGHTS = [
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "delete"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
]
"""What the agent's account needs, as the documentation says."""


def shell(script: str, *arguments: str, **container: Any) -> dict[str, Any]:
    """A container that runs a shell script; its arguments are $1, $2, ..."""
    return {
        "name": "main",
        "image": IMAGE,
        "command": ["/bin/sh", "-c", script, "pipeline"],
        "args": list(arguments),
        **container,
    }


def job(main: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    """A template with one container."""
    pod = {"restartPolicy": "Never", "containers": [dict(main)]}
    template = {"spec": {**pod, **spec.pop("pod", {})}}
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": template, **spec}}


class ClusterLab:
    """A state directory and a namespace, in which agents may run the pipeline ``it``."""

    def __init__(
        self,
        cluster: Cluster,
        state_dir: Path,
        *,
        secrets: Mapping[str, str] | None = None,
        rights: Sequence[Mapping[str, Any]] = RIGHTS,
    ) -> None:
        self.cluster = cluster
        self.state_dir = state_dir
        self.secrets = dict(secrets or {})
        self.namespace = cluster.namespace()
        self.patience = 1 if cluster.double else 30
        """Until this cluster has said what keeps a pod from starting, in seconds."""
        self.held = 0
        self.released: set[int] = set()
        self._runners: list[PipelineRunner] = []
        cluster.account(self.namespace, "agent", rights)
        self.kubeconfig = state_dir.with_name("kubeconfig")
        self.kubeconfig.write_text(cluster.kubeconfig(cluster.token(self.namespace, "agent")))

    def runner(self, container: Mapping[str, Any], **settings: Any) -> PipelineRunner:
        """A runner of its own, as another agent would have it."""
        runner = open_runner(
            container, self.state_dir, self.kubeconfig, self.namespace, hold=self.hold, **settings
        )
        self._runners.append(runner)
        return runner

    async def close(self) -> None:
        """Let all runners go; the cluster removes the namespace with all that is in it."""
        for runner in self._runners:
            await runner.close()

    async def hold(self, references: Sequence[SecretReference], _seconds: float) -> Held:
        secrets = tuple(Secret(self.secrets[reference.path]) for reference in references)
        self.held += 1
        return Held(secrets, partial(self.released.add, self.held))

    def directory(self, run: str = "run") -> RunDirectory:
        return RunDirectory(self.state_dir / "runs" / run)

    def jobs(self) -> list[dict[str, Any]]:
        return self._items(f"/apis/batch/v1/namespaces/{self.namespace}/jobs")

    def pods(self) -> list[dict[str, Any]]:
        return self._items(f"/api/v1/namespaces/{self.namespace}/pods")

    def made_secrets(self) -> list[dict[str, Any]]:
        """The Secrets that the agent made."""
        made = self._items(f"/api/v1/namespaces/{self.namespace}/secrets")
        return [one for one in made if one["metadata"]["name"].startswith("run-")]

    def job(self, run: str = "run") -> dict[str, Any]:
        name = job_name(run)
        return self.cluster.ask("GET", f"/apis/batch/v1/namespaces/{self.namespace}/jobs/{name}")

    def _items(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.cluster.ask("GET", path)["items"]
        return items


async def hold_nothing(_references: Sequence[SecretReference], _seconds: float) -> Held:
    """For pipelines without secrets."""
    return Held((), lambda: None)


def connector(kubeconfig: Path) -> KubernetesConnector:
    """Access to the cluster that *kubeconfig* names."""
    return KubernetesConnector(type="kubernetes", method="kubeconfig", kubeconfig_file=kubeconfig)


def open_runner(
    container: Mapping[str, Any],
    state_dir: Path,
    kubeconfig: Path,
    namespace: str,
    *,
    hold: Hold = hold_nothing,
    times: Times = QUICK,
    spec: Mapping[str, Any] | None = None,
    **settings: Any,
) -> KubernetesRunner:
    """A runner of the pipeline ``it``, as an agent has it that logs in with *kubeconfig*."""
    pipeline = KubernetesPipeline(
        name="it",
        runner="kubernetes",
        template=job(container, **(spec or {})),
        connector="cluster",
        **{"namespace": namespace, "stop_grace": 2, **settings},
    )
    secrets = open_secret_stores({}, on_secret=lambda _: None)
    return open_kubernetes_runner(
        [pipeline],
        RunDirectories(state_dir / "runs"),
        hold,
        connectors=open_connectors({"cluster": connector(kubeconfig)}, secrets),
        secrets=None,
        times=times,
    )
