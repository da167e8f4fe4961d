"""The ways to come by a token of Google. Keeping it is the login's part, asking is `auth`'s."""

import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from agent.clouds.base import SecretSource
from agent.clouds.gcp.auth import Google
from agent.clouds.gcp.builders import Built, Make, host_credentials, impersonated
from agent.clouds.gcp.documents import asks_metadata, parse_document, secrets_of
from agent.clouds.gcp.token import Token
from agent.egress import metadata_allowed
from agent.errors import CredentialUnavailable
from agent.secret_reference import SecretReference

_RUNS_PROGRAMS = "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES"


class Method(Protocol):
    """One way to come by a token; keeps none."""

    async def issue(self) -> Token:
        """Return a token that is valid now.

        Raises:
            AccessDenied: Google refused.
            StoreUnavailable: It did not answer.
            CredentialUnavailable: There is nothing to log in with; `detail` says why.
        """

    def forget(self) -> None:
        """Start from the sources at the next `issue`, since what came of them was refused."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What builds credentials, and whether that asks a metadata service of the host."""

    make: Make
    metadata: bool


class Source(Protocol):
    """Where credentials come from that a token can be asked for with."""

    async def recipe(self) -> Recipe:
        """Return what builds them.

        Raises:
            CredentialUnavailable: There are none.
        """

    def forget(self) -> None:
        """Read secrets again at the next `recipe`."""


class Host:
    """Whatever the host offers."""

    async def recipe(self) -> Recipe:
        if os.environ.get(_RUNS_PROGRAMS) == "1":
            detail = f"the agent runs no programs for a login: unset {_RUNS_PROGRAMS}"
            raise CredentialUnavailable(detail=detail)
        return Recipe(host_credentials, metadata=True)

    def forget(self) -> None:
        """Nothing is kept: the host is asked each time."""


class Document:
    """A JSON file of Google's type *kind*, which stands in a secret store."""

    def __init__(
        self,
        secrets: SecretSource,
        reference: SecretReference,
        kind: str,
        build: Callable[[Mapping[str, Any]], Built],
    ) -> None:
        self._secrets = secrets
        self._reference = reference
        self._kind = kind
        self._build = build

    async def recipe(self) -> Recipe:
        resolved = await self._secrets.resolve_together([self._reference])
        document = parse_document(resolved.secrets[0], kind=self._kind)
        for secret in secrets_of(document):
            self._secrets.register(secret)
        return Recipe(lambda _request: self._build(document), asks_metadata(document))

    def forget(self) -> None:
        self._secrets.invalidate(self._reference)


class Impersonated:
    """A service account, for which the credentials of *base* stand."""

    def __init__(self, base: Source, principal: str, *, seconds: float, iam_url: str) -> None:
        self._base = base
        self._principal = principal
        self._seconds = seconds
        self._iam_url = iam_url

    async def recipe(self) -> Recipe:
        base = await self._base.recipe()
        make = impersonated(
            base.make, self._principal, seconds=self._seconds, iam_url=self._iam_url
        )
        return replace(base, make=make)

    def forget(self) -> None:
        self._base.forget()


class Issued:
    """A token that Google issues for the credentials of *source*."""

    def __init__(self, secrets: SecretSource, source: Source, google: Google) -> None:
        self._secrets = secrets
        self._source = source
        self._google = google

    async def issue(self) -> Token:
        recipe = await self._source.recipe()
        with metadata_allowed() if recipe.metadata else nullcontext():
            token = await self._google.token(recipe.make)
        self._secrets.register(token.secret)
        return token

    def forget(self) -> None:
        self._source.forget()


class Given:
    """A token that the customer renews in a secret store; loads no SDK."""

    def __init__(self, secrets: SecretSource, reference: SecretReference) -> None:
        self._secrets = secrets
        self._reference = reference

    async def issue(self) -> Token:
        resolved = await self._secrets.resolve_together([self._reference])
        (secret,) = resolved.secrets
        value = secret.reveal()
        if not (value.isascii() and value.isprintable() and value):
            raise CredentialUnavailable(detail="the token has characters that no header can hold")
        expires_at = None
        if resolved.expires_in is not None:
            expires_at = datetime.now(UTC) + timedelta(seconds=resolved.expires_in)
        return Token(secret, expires_at)

    def forget(self) -> None:
        self._secrets.invalidate(self._reference)
