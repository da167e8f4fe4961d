"""This control plane's own metrics, read off its state when they are asked for."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from control_plane_stub.plane import ControlPlane


class PlaneCollector(Collector):
    """Label values come from fixed sets: no names, no ids."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    def collect(self) -> Iterator[Metric]:
        online = sum(1 for instance in self._plane.directory if instance.link is not None)
        yield GaugeMetricFamily("control_plane_instances_online", "Instances with a link", online)
        jobs = GaugeMetricFamily("control_plane_jobs_open", "Jobs not ended", labels=["state"])
        for state, number in Counter(job.state for job in self._plane.jobs.open.values()).items():
            jobs.add_metric([state], number)
        yield jobs
        ended = CounterMetricFamily("control_plane_jobs", "Jobs that ended", labels=["outcome"])
        for outcome, number in self._plane.jobs.ended_by_outcome.items():
            ended.add_metric([outcome], number)
        yield ended
        received = self._plane.inbox.received_bytes
        yield CounterMetricFamily("control_plane_content_bytes", "Content taken in", received)


def registry_of(plane: ControlPlane) -> CollectorRegistry:
    """Return a registry with the metrics of *plane* and nothing else."""
    registry = CollectorRegistry()
    registry.register(PlaneCollector(plane))
    return registry
