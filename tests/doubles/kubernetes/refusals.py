"""How the API says no: `Status` objects, worded like those of a real server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Details = Mapping[str, Any]


class Refusal(Exception):
    """Ends a request with *status* and a `Status` object."""

    def __init__(
        self, status: int, reason: str | None, message: str, details: Details | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details

    @property
    def body(self) -> dict[str, Any]:
        """The object that is sent."""
        body: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}}
        body |= {"status": "Failure", "message": self.message}
        if self.reason is not None:
            body["reason"] = self.reason
        if self.details is not None:
            body["details"] = dict(self.details)
        return body | {"code": self.status}


class Unknown(Exception):
    """The request needs something that this double does not have; the text names it."""


class NoSuchPath(Exception):
    """Nothing is served there; a real server says so in plain text."""


@dataclass(frozen=True)
class Cause:
    """Why one field of an object is refused."""

    reason: str
    field: str
    message: str

    @classmethod
    def required(cls, field: str, why: str) -> "Cause":
        return cls("FieldValueRequired", field, f"Required value: {why}")

    @classmethod
    def invalid(cls, field: str, value: str, why: str) -> "Cause":
        return cls("FieldValueInvalid", field, f"Invalid value: {value}: {why}")

    @classmethod
    def forbidden(cls, field: str, why: str) -> "Cause":
        return cls("FieldValueForbidden", field, f"Forbidden: {why}")


def unauthorized() -> Refusal:
    return Refusal(401, "Unauthorized", "Unauthorized")


def forbidden_path(user: str, verb: str, path: str) -> Refusal:
    return Refusal(403, "Forbidden", f'forbidden: User "{user}" cannot {verb} path "{path}"', {})


def no_such_resource() -> Refusal:
    return Refusal(404, "NotFound", "the server could not find the requested resource", {})


def wrong_method() -> Refusal:
    message = "the server does not allow this method on the requested resource"
    return Refusal(405, "MethodNotAllowed", message, {})


def bad_request(message: str) -> Refusal:
    return Refusal(400, "BadRequest", message)


def about(group: str, plural: str, name: str = "") -> dict[str, str]:
    """Return the details that name one object of a resource."""
    named = {"name": name, "group": group, "kind": plural}
    return {key: value for key, value in named.items() if value}


def not_found(group: str, plural: str, name: str) -> Refusal:
    what = _qualified(group, plural)
    return Refusal(404, "NotFound", f'{what} "{name}" not found', about(group, plural, name))


def already_exists(group: str, plural: str, name: str) -> Refusal:
    message = f'{_qualified(group, plural)} "{name}" already exists'
    return Refusal(409, "AlreadyExists", message, about(group, plural, name))


def conflict(group: str, plural: str, name: str) -> Refusal:
    message = (
        f'Operation cannot be fulfilled on {_qualified(group, plural)} "{name}": the object has '
        "been modified; please apply your changes to the latest version and try again"
    )
    return Refusal(409, "Conflict", message, about(group, plural, name))


def precondition_failed(group: str, kind: str, name: str, why: str) -> Refusal:
    message = f'Operation cannot be fulfilled on {_qualified(group, kind)} "{name}": {why}'
    return Refusal(409, "Conflict", message, about(group, kind, name))


def invalid(group: str, kind: str, name: str, causes: Sequence[Cause]) -> Refusal:
    texts = [f"{cause.field}: {cause.message}" for cause in causes]
    shown = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    message = f'{_qualified(group, kind)} "{name}" is invalid: {shown}'
    listed = [
        {"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes
    ]
    return Refusal(422, "Invalid", message, about(group, kind, name) | {"causes": listed})


def _qualified(group: str, name: str) -> str:
    return f"{name}.{group}" if group else name
