"""Builds the runner of Jobs from settings; the only file of this package that reads them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from agent.clouds.base import Login, SecretSource
from agent.clouds.kubernetes.open import open_kubernetes_login
from agent.clouds.kubernetes.wire import Wire
from agent.config.clouds import KubernetesLogin
from agent.config.pipelines import KubernetesPipeline as Settings
from agent.connectors.base import Connector
from agent.credentials import KubernetesCredentials
from agent.errors import UsageError
from agent.pipelines.kubernetes.follower import Times
from agent.pipelines.kubernetes.manifest import Environment, Limits, Manifest
from agent.pipelines.kubernetes.runner import Hold, KubernetesPipeline, KubernetesRunner
from agent.pipelines.kubernetes.template import JobTemplate
from agent.pipelines.kubernetes.template_source import Source
from agent.pipelines.run_directories import RunDirectories
from agent.secret_reference import SecretReference


def open_kubernetes_runner(
    settings: Sequence[Settings],
    directories: RunDirectories,
    hold: Hold,
    *,
    connectors: Mapping[str, Connector[Any]],
    secrets: SecretSource | None,
    times: Times | None = None,
) -> KubernetesRunner:
    """Read the templates and build the runner; asks no cluster.

    Raises:
        UsageError: A template can't be read or is not one to run, there is no such connector, or it
            gives no access to a cluster.
    """
    clusters = _Clusters(connectors, secrets)
    pipelines = {pipeline.name: _pipeline(pipeline, clusters) for pipeline in settings}
    return KubernetesRunner(
        pipelines, directories=directories, hold=hold, on_close=clusters.opened, times=times
    )


class _Clusters:
    """Finds the login of each pipeline; *opened* closes those that are ours alone."""

    def __init__(
        self, connectors: Mapping[str, Connector[Any]], secrets: SecretSource | None
    ) -> None:
        self._connectors = connectors
        self._secrets = secrets
        self._own: Login[KubernetesCredentials] | None = None
        self.opened: list[Callable[[], Awaitable[None]]] = []

    def wire(self, name: str | None) -> Wire:
        if name is None:
            return Wire(self._in_cluster())
        connector = self._connectors.get(name)
        if connector is None:
            raise UsageError(f"connector: there is no {name} in connectors")
        if connector.gives is not KubernetesCredentials:
            raise UsageError(f"connector: {name} gives no access to a cluster")
        return Wire(connector)

    def _in_cluster(self) -> Login[KubernetesCredentials]:
        if self._own is None:
            if self._secrets is None:
                raise UsageError("connector: name one that gives access to a cluster")
            login = KubernetesLogin()
            self._own = open_kubernetes_login("pipelines", "in-cluster", login, self._secrets)
            self.opened.append(self._own.close)
        return self._own


def _pipeline(settings: Settings, clusters: _Clusters) -> KubernetesPipeline:
    try:
        return KubernetesPipeline(
            manifest=_manifest(settings),
            wire=clusters.wire(settings.connector),
            namespace=settings.namespace,
            start_timeout=settings.start_timeout,
            log_limit=settings.log_limit,
        )
    except UsageError as wrong:
        raise UsageError(f"pipelines: {settings.name}: {wrong}") from None


def _manifest(settings: Settings) -> Manifest:
    if settings.template_file is not None:
        source = Source.of_file(settings.template_file)
    else:
        source = Source(settings.template, "template")
    environment = settings.environment.items()
    return Manifest(
        settings.name,
        JobTemplate(source, settings.parameters),
        container=settings.container,
        environment=Environment(
            plain={name: text for name, text in environment if isinstance(text, str)},
            secret={name: at for name, at in environment if isinstance(at, SecretReference)},
        ),
        limits=Limits(settings.timeout, settings.stop_grace, settings.keep),
    )
