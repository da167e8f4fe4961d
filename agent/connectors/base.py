"""What every connector offers: credentials for one cloud or service. No connector lives here."""

from typing import Protocol, TypeVar

from agent.clouds.base import Login
from agent.credentials import Credentials

C = TypeVar("C", bound=Credentials)


class Connector(Login[C], Protocol[C]):
    """A login that the configuration gave a name."""

    name: str
    gives: type[C]
    """The type of its credentials, known before any are issued."""
