"""The requests about agents: who is there, who may come, who may not any more, and faults."""

import secrets
import time
from collections import defaultdict

from aiohttp import web

from control_plane_stub.agents.faults import Fault
from control_plane_stub.agents.gate import Gate
from control_plane_stub.plane import ControlPlane
from control_plane_stub.rest.errors import ApiError
from control_plane_stub.rest.models import (
    AgentList,
    AgentView,
    Done,
    FaultList,
    FaultView,
    InstanceView,
    JoinTokenCreated,
    JoinTokenRequest,
    answer,
    fault_view,
    moment,
    read_model,
)
from control_plane_stub.storage.store import EnrolledInstance


class AgentsApi:
    """Handlers; each answers with a model or an `ApiError`."""

    def __init__(self, plane: ControlPlane, gate: Gate) -> None:
        self._plane = plane
        self._gate = gate

    async def list_agents(self, _: web.Request) -> web.Response:
        agents: dict[str, list[InstanceView]] = defaultdict(list)
        for enrolled in await self._plane.store.instances():
            agents[enrolled.agent].append(self._view(enrolled))
        views = [
            AgentView(name=name, labels=_labels(instances), instances=instances)
            for name, instances in agents.items()
        ]
        return answer(AgentList(agents=views))

    async def create_join_token(self, request: web.Request) -> web.Response:
        """Make a token; only its hash is kept."""
        wanted = await read_model(request, JoinTokenRequest)
        token = f"cajt_{secrets.token_urlsafe(32)}"
        expires = time.time() + wanted.ttl.total_seconds()
        await self._plane.store.add_join_token(token, agent=wanted.agent, expires=expires)
        created = JoinTokenCreated(join_token=token, agent=wanted.agent, expires_at=moment(expires))
        return answer(created, status=201)

    async def revoke(self, request: web.Request) -> web.Response:
        """Refuse an instance's key from now on, and close its link. Idempotent."""
        match = request.match_info
        if not await self._gate.revoke(match["name"], match["id"]):
            raise ApiError(404, "not_found", "there is no such instance")
        self._plane.jobs.feed.mark(None)
        return answer(Done())

    async def add_fault(self, request: web.Request) -> web.Response:
        fault = await read_model(request, Fault)
        return answer(fault_view(self._plane.faults.add(fault)), status=201)

    async def list_faults(self, request: web.Request) -> web.Response:
        return answer(FaultList(faults=self._faults(request)))

    async def clear_faults(self, request: web.Request) -> web.Response:
        self._plane.faults.clear(request.query.get("agent"))
        return answer(Done())

    def _faults(self, request: web.Request) -> list[FaultView]:
        agent = request.query.get("agent")
        scripts = self._plane.faults.all()
        return [fault_view(one) for one in scripts if agent in (None, one.fault.agent)]

    def _view(self, enrolled: EnrolledInstance) -> InstanceView:
        met = self._plane.directory.get(enrolled.agent, enrolled.instance)
        if met is None:
            state = "revoked" if enrolled.revoked else "offline"
            return InstanceView.model_validate({"id": enrolled.instance, "state": state})
        state = "online" if met.link else "revoked" if enrolled.revoked else "offline"
        since, trip = met.connected_since, met.round_trip_s
        return InstanceView.model_validate(
            {
                "id": enrolled.instance,
                "state": state,
                "version": met.hello.version if met.hello else None,
                "labels": met.hello.labels if met.hello else {},
                "connected_since": None if since is None else moment(since),
                "draining": met.draining,
                "open_jobs": len(met.open),
                "round_trip_ms": None if trip is None else round(trip * 1000, 3),
            }
        )


def _labels(instances: list[InstanceView]) -> dict[str, str]:
    """Return the labels of the first instance that has told any; replicas share them."""
    return next((one.labels for one in instances if one.labels), {})
