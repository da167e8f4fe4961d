"""What every connector promises, and connectors that give what a test gave them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from agent.connectors.base import Connector
from agent.credentials import Credentials, Identity
from agent.errors import CredentialUnavailable
from agent.secret import Secret

C = TypeVar("C", bound=Credentials)


class GivenConnector(Generic[C]):
    """Gives the first credentials until they are said to be refused, then the next ones."""

    name = "given"

    def __init__(self, *credentials: C) -> None:
        self.gives = type(credentials[0])
        self._left = list(credentials)
        self.invalidated: list[C] = []

    async def credentials(self) -> C:
        return self._left[0]

    def invalidate(self, used: C) -> None:
        self.invalidated.append(used)
        if len(self._left) > 1 and self._left[0] == used:
            del self._left[0]

    async def identity(self) -> Identity:
        return Identity("nobody")

    async def close(self) -> None:
        pass


class EmptyConnector(Generic[C]):
    """Has no credentials of the type that it says it gives."""

    name = "empty"

    def __init__(self, gives: type[C]) -> None:
        self.gives = gives

    async def credentials(self) -> C:
        raise CredentialUnavailable(detail="the test gave none")

    def invalidate(self, used: C) -> None:
        """Nothing is kept here."""

    async def identity(self) -> Identity:
        raise CredentialUnavailable(detail="the test gave none")

    async def close(self) -> None:
        pass


@dataclass
class Case:
    """A connector, what proves that its credentials work, and what the redactor heard of.

    *use* raises when the service refuses the credentials. *who* is a part of the name that the
    service gives them.
    """

    connector: Connector[Any]
    use: Callable[[Any], Awaitable[object]]
    seen: Sequence[Secret]
    who: str


def values_of(credentials: Credentials) -> set[str]:
    """Return the secret values of *credentials*."""
    found = (getattr(credentials, one.name) for one in fields(credentials))
    return {value.reveal() for value in found if isinstance(value, Secret)}


class ConnectorContract:
    """Derive from it, with a fixture *case* that yields a `Case`."""

    async def test_its_credentials_work(self, case: Case) -> None:
        credentials = await case.connector.credentials()

        assert isinstance(credentials, case.connector.gives)
        await case.use(credentials)

    async def test_they_are_valid_for_a_minute_at_least(self, case: Case) -> None:
        expires_at = (await case.connector.credentials()).expires_at

        least = datetime.now(UTC) + timedelta(minutes=1)
        assert expires_at is None or expires_at > least

    async def test_many_callers_get_the_same(self, case: Case) -> None:
        asking = (case.connector.credentials() for _ in range(20))

        first, *others = await asyncio.gather(*asking)

        assert [first] * 19 == others

    async def test_identity_is_what_the_service_says_and_no_secret(self, case: Case) -> None:
        identity = await case.connector.identity()

        credentials = await case.connector.credentials()
        assert case.who in identity.name
        # Who somebody is may well be a user name, which is kept beside the password.
        user = getattr(credentials, "username", None)
        values = values_of(credentials) - {user.reveal() if user else ""}
        assert not any(value in repr(identity) for value in values)

    async def test_identity_names_no_host(self, case: Case) -> None:
        """The control plane is told who the agent is, and not where the customer's services are."""
        name = (await case.connector.identity()).name

        used = await case.connector.credentials()
        address = getattr(used, "endpoint_url", None) or getattr(used, "registry", None) or ""
        host = urlsplit(address if "://" in address else f"//{address}").hostname
        assert host is None or host not in name

    async def test_no_value_is_in_a_repr(self, case: Case) -> None:
        credentials = await case.connector.credentials()

        shown = f"{credentials!r} {credentials}"
        assert not any(value in shown for value in values_of(credentials))

    async def test_every_value_is_known_to_the_redactor(self, case: Case) -> None:
        credentials = await case.connector.credentials()

        assert values_of(credentials) <= {secret.reveal() for secret in case.seen}

    async def test_after_invalidate_there_are_working_ones(self, case: Case) -> None:
        case.connector.invalidate(await case.connector.credentials())

        await case.use(await case.connector.credentials())

    async def test_close_and_invalidate_are_idempotent(self, case: Case) -> None:
        used = await case.connector.credentials()

        for _ in range(2):
            case.connector.invalidate(used)
            await case.connector.close()
