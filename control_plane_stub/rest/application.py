"""Builds the web application from the table of routes."""

import json

from aiohttp import web

from control_plane_stub.agents.gate import Gate
from control_plane_stub.plane import ControlPlane
from control_plane_stub.rest.auth import bearer_check
from control_plane_stub.rest.errors import answer_errors
from control_plane_stub.rest.openapi import describe
from control_plane_stub.rest.routes import API, Route, agent_routes, job_routes, page_routes

LARGEST_BODY = 1024 * 1024
VERSION = "0.1.0"


def application(plane: ControlPlane, gate: Gate, *, token: str) -> web.Application:
    """Return everything on one port: REST, agents and dashboard."""
    routes = [*job_routes(plane), *agent_routes(plane, gate)]
    document = b""

    async def openapi(_: web.Request) -> web.Response:
        return web.Response(body=document, content_type="application/json")

    path = f"{API}/openapi.json"
    routes.append(Route("GET", path, openapi, "This document", "application/json"))
    routes += page_routes(plane)
    document = json.dumps(describe(routes, version=VERSION)).encode()
    app = web.Application(
        middlewares=[answer_errors, bearer_check(token)], client_max_size=LARGEST_BODY
    )
    gate.add_to(app)
    for route in routes:
        app.router.add_route(route.method, route.path, route.handler)
    return app
