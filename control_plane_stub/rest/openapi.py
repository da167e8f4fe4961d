"""Describes the table of routes as an OpenAPI 3.1 document; knows no route by name."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from control_plane_stub.rest.auth import GUARDED
from control_plane_stub.rest.errors import ErrorBody
from control_plane_stub.rest.routes import Route

_REFERENCE = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"\{(\w+)\}")


def describe(routes: Sequence[Route], *, version: str) -> dict[str, Any]:
    """Return the document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Cloud Agent control plane (stub)", "version": version},
        "paths": paths,
        "components": {
            "schemas": _schemas(routes),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    errors = (401, *route.errors) if route.path.startswith(GUARDED) else route.errors
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{route.method.lower()}{re.sub(r'[^a-z0-9]+', '_', route.path)}".strip("_"),
        "parameters": _parameters(route),
        "responses": {
            str(route.status): {"description": route.summary, "content": _content(route.answers)},
            **{str(status): _error(status) for status in errors},
        },
        "security": [{"token": []}] if route.path.startswith(GUARDED) else [],
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _content(route.body)}
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    text = {"type": "string"}
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": text}
        for name in _PARAMETER.findall(route.path)
    ]
    in_query = [{"name": name, "in": "query", "schema": text} for name in route.query]
    return in_path + in_query


def _content(what: type[BaseModel] | str) -> dict[str, Any]:
    if isinstance(what, str):
        return {what: {}}
    return {"application/json": {"schema": {"$ref": _REFERENCE.format(model=what.__name__)}}}


def _error(status: int) -> dict[str, Any]:
    return {"description": f"Refused with status {status}", "content": _content(ErrorBody)}


def _schemas(routes: Sequence[Route]) -> dict[str, Any]:
    models = {ErrorBody} | {route.body for route in routes if route.body is not None}
    models |= {route.answers for route in routes if not isinstance(route.answers, str)}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema(
        [(model, "serialization") for model in ordered], ref_template=_REFERENCE
    )
    return dict(schemas["$defs"])
