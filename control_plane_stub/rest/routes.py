"""The one table of what users may ask for; the application and its description are made from it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from aiohttp import web
from pydantic import BaseModel

from control_plane_stub.agents.faults import Fault
from control_plane_stub.agents.gate import Gate
from control_plane_stub.plane import ControlPlane
from control_plane_stub.rest.agents_api import AgentsApi
from control_plane_stub.rest.events import EventsApi
from control_plane_stub.rest.fetch import FetchApi
from control_plane_stub.rest.jobs_api import JobsApi
from control_plane_stub.rest.models import (
    AgentList,
    Done,
    FaultList,
    FaultView,
    FetchRequest,
    JobCreated,
    JobList,
    JobSubmission,
    JobView,
    JoinTokenCreated,
    JoinTokenRequest,
)
from control_plane_stub.rest.pages import Pages

API = "/api/v1"
BYTES = "application/octet-stream"
EVENTS = "text/event-stream"

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One request: how it is made, what comes back."""

    method: str
    path: str
    handler: Handler
    summary: str
    answers: type[BaseModel] | str
    """A model, or the media type of a stream."""
    body: type[BaseModel] | None = None
    query: tuple[str, ...] = ()
    status: int = 200
    errors: tuple[int, ...] = ()


def job_routes(plane: ControlPlane) -> list[Route]:
    """Return what can be asked about jobs."""
    jobs = JobsApi(plane)
    events = EventsApi(plane, jobs)
    one, ended = f"{API}/jobs/{{id}}", (400, 403, 404, 409, 413, 416, 429, 502, 504)
    return [
        Route("POST", f"{API}/jobs", jobs.submit, "Submit a job", JobCreated,
              body=JobSubmission, status=202, errors=(400, 409)),
        Route("GET", f"{API}/jobs", jobs.list_jobs, "List jobs, newest first", JobList,
              query=("agent", "state", "limit"), errors=(400,)),
        Route("GET", one, jobs.get, "Show a job", JobView, errors=(404,)),
        Route("POST", f"{one}/cancel", jobs.cancel, "Ask for a job's end", Done,
              status=202, errors=(404,)),
        Route("GET", f"{one}/content", jobs.content,
              "Read a job's content, while it runs or later; honours Range", BYTES, errors=ended),
        Route("GET", f"{one}/log", jobs.log, "Read a job's log; follow=true waits for its end",
              "text/plain", query=("follow",), errors=(404,)),
        Route("GET", f"{one}/events", events.of_job,
              "Follow a job: state, progress, log, result", EVENTS, errors=(404,)),
        Route("GET", f"{API}/events", events.of_all, "Follow all jobs and agents", EVENTS),
        Route("POST", f"{API}/fetch", FetchApi(plane).fetch,
              "Fetch an artifact in one request; nothing of it is kept", BYTES,
              body=FetchRequest, errors=ended),
    ]  # fmt: skip


def agent_routes(plane: ControlPlane, gate: Gate) -> list[Route]:
    """Return what can be asked about agents."""
    agents = AgentsApi(plane, gate)
    return [
        Route("GET", f"{API}/agents", agents.list_agents, "List agents and instances", AgentList),
        Route("POST", f"{API}/join-tokens", agents.create_join_token,
              "Make a one-time join token, shown this once", JoinTokenCreated,
              body=JoinTokenRequest, status=201, errors=(400,)),
        Route("DELETE", f"{API}/agents/{{name}}/instances/{{id}}", agents.revoke,
              "Revoke an instance's key and close its link", Done, errors=(404,)),
        Route("POST", f"{API}/faults", agents.add_fault, "Script a fault", FaultView,
              body=Fault, status=201, errors=(400,)),
        Route("GET", f"{API}/faults", agents.list_faults, "List faults at work", FaultList,
              query=("agent",)),
        Route("DELETE", f"{API}/faults", agents.clear_faults, "End faults", Done,
              query=("agent",)),
    ]  # fmt: skip


def page_routes(plane: ControlPlane) -> list[Route]:
    """Return what needs no token."""
    pages = Pages(plane)
    return [
        Route("GET", "/healthz", pages.health, "Say that this process works", "application/json"),
        Route("GET", "/metrics", pages.metrics, "Metrics for Prometheus", "text/plain"),
        Route("GET", "/", pages.index, "The dashboard", "text/html"),
        Route("GET", "/{file}", pages.asset, "A file of the dashboard", BYTES, errors=(404,)),
    ]
