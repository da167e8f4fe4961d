"""Turns service connectors that a ZenML server exported into connectors of ours.

What it reads is what ``GET /api/v1/service_connectors`` of ZenML 0.98 answers, for one connector or
for a page of them. Such an answer holds secrets in clear by default: they leave this module only as
`Imported.secrets`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agent.config.connectors import Connector
from agent.errors import UsageError
from agent.secret import Secret

_NAME_HERE = "{name}"
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_AWS_KEY = {"aws_access_key_id": "access_key_id", "aws_secret_access_key": "secret_access_key"}
_AWS = {"region": "region", "endpoint_url": "endpoint_url", "role_arn": "role_arn"}
_GCP = _same("project_id", "target_principal")
_AZURE = _same("tenant_id", "client_id", "subscription_id", "resource_group", "storage_account")
_CLUSTER = _same("server", "cluster_name", "insecure")
_CLUSTER_CA = _same("certificate_authority")
_CLUSTER_CERTIFICATE = _same("client_certificate", "client_key")


@dataclass(frozen=True, slots=True)
class _Method:
    """What becomes of a method: ours, and our keys for its plain and its secret ones."""

    type: str
    method: str
    plain: Mapping[str, str] = field(default_factory=dict)
    secret: Mapping[str, str] = field(default_factory=dict)


_METHODS: Mapping[tuple[str, str], _Method] = {
    ("aws", "implicit"): _Method("aws", "implicit", _AWS),
    ("aws", "secret-key"): _Method("aws", "secret-key", _AWS, _AWS_KEY),
    ("aws", "sts-token"): _Method(
        "aws", "sts-token", _AWS, {**_AWS_KEY, "aws_session_token": "session_token"}
    ),
    ("aws", "iam-role"): _Method("aws", "iam-role", _AWS, _AWS_KEY),
    ("aws", "session-token"): _Method("aws", "session-token", _AWS, _AWS_KEY),
    ("aws", "federation-token"): _Method("aws", "federation-token", _AWS, _AWS_KEY),
    ("gcp", "implicit"): _Method("gcp", "implicit", _GCP),
    ("gcp", "user-account"): _Method("gcp", "user-account", _GCP, _same("user_account_json")),
    ("gcp", "service-account"): _Method(
        "gcp", "service-account", _GCP, _same("service_account_json")
    ),
    ("gcp", "external-account"): _Method(
        "gcp", "external-account", _GCP, _same("external_account_json")
    ),
    ("gcp", "oauth2-token"): _Method("gcp", "oauth2-token", _GCP, _same("token")),
    ("gcp", "impersonation"): _Method("gcp", "impersonation", _GCP, _same("service_account_json")),
    ("azure", "implicit"): _Method("azure", "implicit", _AZURE),
    ("azure", "service-principal"): _Method(
        "azure", "service-principal", _AZURE, _same("client_secret")
    ),
    ("azure", "access-token"): _Method("azure", "access-token", _AZURE, _same("token")),
    ("kubernetes", "password"): _Method(
        "kubernetes",
        "password",
        _CLUSTER,
        _same("username", "password", "certificate_authority"),
    ),
    ("kubernetes", "token"): _Method(
        "kubernetes", "token", _CLUSTER, {**_same("token"), **_CLUSTER_CERTIFICATE, **_CLUSTER_CA}
    ),
    ("docker", "password"): _Method(
        "docker",
        "password",
        _same("registry"),
        _same("username", "password"),
    ),
    ("oauth2", "client-credentials"): _Method(
        "http",
        "client-credentials",
        {"api_url": "endpoint_url", **_same("token_url", "client_id", "scope", "audience")},
        _same("client_secret"),
    ),
    ("oauth2", "token"): _Method(
        "http", "token", {"api_url": "endpoint_url"}, {"access_token": "token"}
    ),
}
_IGNORED = {"generate_temporary_tokens", "client_auth_method"}
"""What our connectors do anyway."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A connector of ours. *secrets* are the values that its references name, by field.

    *left_out* are ZenML's keys that have no counterpart here.
    """

    name: str
    settings: Mapping[str, Any]
    secrets: Mapping[str, Secret] = field(repr=False)
    left_out: tuple[str, ...] = ()


def imported(export: object, *, store: str, path: str = "{name}") -> list[Imported]:
    """Return a connector for each one in *export*, in its order; does no I/O.

    Each secret becomes a reference ``secret://STORE/PATH#FIELD``, where the connector's name stands
    for ``{name}`` in *path*, and ZenML's name of the field, whether or not the export holds its
    value.

    Raises:
        UsageError: It is no export, has a type or method that we don't have, or names that can't be
            told apart here. The text repeats no value.
    """
    found = [_connector(one, store, path) for one in _items(export)]
    names = [one.name for one in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"connector {min(twice)}: two of them would get this name; rename one")
    return found


def _items(export: object) -> list[Mapping[str, Any]]:
    listed = export.get("items", [export]) if isinstance(export, dict) else export
    if not isinstance(listed, list) or not all(
        isinstance(one, dict) and isinstance(one.get("body"), dict) for one in listed
    ):
        raise UsageError(
            "this is no export of ZenML: it should be what GET /api/v1/service_connectors, or "
            "/api/v1/service_connectors/ID, of the server answers"
        )
    return listed


def _connector(one: Mapping[str, Any], store: str, path: str) -> Imported:
    name = _NOT_A_NAME.sub("-", str(one.get("name"))).strip("-._")[:64]
    if not name:
        raise UsageError("a connector has no name with letters or digits of ASCII; rename it")
    body = one["body"]
    kind, method = _type_of(body), str(body.get("auth_method"))
    if (kind, method) not in _METHODS:
        raise UsageError(f"connector {name}: there is no connector for {kind} with {method} here")
    given = {key: value for key, value in _configuration(one).items() if value is not None}
    chosen = _adapted(_METHODS[kind, method], kind, method, given)
    settings: dict[str, Any] = {"type": chosen.type, "method": chosen.method}
    settings |= {ours: given[theirs] for theirs, ours in chosen.plain.items() if given.get(theirs)}
    settings |= dict(_policy(given))
    settings |= {
        ours: f"secret://{store}/{path.replace(_NAME_HERE, name)}#{theirs}"
        for theirs, ours in chosen.secret.items()
    }
    settings |= dict(_resource(body, one, chosen.type))
    _require_valid(name, settings)
    known = {*chosen.plain, *chosen.secret, *_IGNORED, "policy"}
    values = {key: Secret(str(given[key])) for key in chosen.secret if key in given}
    return Imported(name, settings, values, tuple(sorted({*given} - known)))


def _type_of(body: Mapping[str, Any]) -> str:
    named = body.get("connector_type")
    return str(named.get("connector_type") if isinstance(named, dict) else named)


def _configuration(one: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = one.get("metadata")
    found = metadata.get("configuration") if isinstance(metadata, dict) else None
    return found if isinstance(found, dict) else {}


def _adapted(method: _Method, kind: str, name: str, given: Mapping[str, Any]) -> _Method:
    """Mind the methods that are one at ZenML and two here, and what ZenML lets be absent."""
    secret = dict(method.secret)
    if (kind, name) == ("aws", "implicit") and given.get("role_arn"):
        return _Method("aws", "iam-role", _AWS)
    if (kind, name) == ("kubernetes", "token"):
        by_certificate = "client_certificate" in given and "token" not in given
        for key in ("token",) if by_certificate else _CLUSTER_CERTIFICATE:
            del secret[key]
        method = _Method(
            "kubernetes", "client-certificate" if by_certificate else "token", _CLUSTER, secret
        )
    if kind == "kubernetes" and given.get("insecure"):
        secret.pop("certificate_authority", None)
    return _Method(method.type, method.method, method.plain, secret)


def _policy(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if not given.get("policy"):
        return
    try:
        policy = json.loads(given["policy"])
    except (TypeError, ValueError):
        raise UsageError("policy: is no JSON") from None
    yield "session_policy", policy


def _resource(
    body: Mapping[str, Any], one: Mapping[str, Any], kind: str
) -> Iterator[tuple[str, Any]]:
    types = body.get("resource_types")
    if kind in ("aws", "gcp", "azure") and isinstance(types, list) and len(types) == 1:
        yield "resource_type", types[0]
        if body.get("resource_id"):
            yield "resource_id", body["resource_id"]
    metadata = one.get("metadata")
    seconds = metadata.get("expiration_seconds") if isinstance(metadata, dict) else None
    if kind in ("aws", "gcp") and isinstance(seconds, int) and seconds > 0:
        yield "duration", f"{seconds}s"


def _require_valid(name: str, settings: Mapping[str, Any]) -> None:
    try:
        TypeAdapter(Connector).validate_python(settings)
    except ValidationError as wrong:
        faults = wrong.errors(include_input=False, include_url=False, include_context=False)
        where = ".".join(str(part) for part in faults[0]["loc"][1:])
        said = faults[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"connector {name}: {where + ': ' if where else ''}{said}") from None
