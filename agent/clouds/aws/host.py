"""What the host offers as credentials for AWS, by the chain of boto3."""

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from agent.clouds.aws.boto import Endpoint, in_thread
from agent.credentials import AwsCredentials
from agent.egress import metadata_allowed
from agent.errors import CredentialUnavailable
from agent.secret import Secret

if TYPE_CHECKING:
    from boto3 import Session


class HostCredentials:
    """The environment, files, web identity, containers' and hosts' metadata services, in turn.

    The chain is walked at the first call and after `forget`; botocore refreshes what expires, and
    like the walk it does so within a call, the only time that metadata services can be reached.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._session: Session | None = None

    async def current(self) -> AwsCredentials:
        """Return what is valid now.

        Raises:
            CredentialUnavailable: The host offers nothing.
            StoreUnavailable: What the host offers could not be refreshed.
        """
        with metadata_allowed():
            return await in_thread(self._endpoint, self._current)

    def forget(self) -> None:
        """Walk the chain again at the next call; idempotent."""
        self._session = None

    def _current(self) -> AwsCredentials:
        from boto3 import Session

        session = self._session or Session()
        offered = session.get_credentials()
        try:
            frozen = offered.get_frozen_credentials() if offered else None
        except RuntimeError:  # botocore's word for credentials that come expired
            detail = "what the host offers has expired"
            raise CredentialUnavailable(detail=detail) from None
        if frozen is None or not frozen.access_key or not frozen.secret_key:
            raise CredentialUnavailable(
                detail="no AWS credentials in the environment, in files or at a metadata service"
            )
        self._session = session
        token = Secret(frozen.token) if frozen.token else None
        key = (Secret(frozen.access_key), Secret(frozen.secret_key), token)
        place = replace(self._endpoint, region=self._endpoint.region or session.region_name)
        return place.credentials(key, _end(offered))


def _end(offered: object) -> datetime | None:
    # botocore has no other way to ask; what does not expire lacks the attribute.
    end = getattr(offered, "_expiry_time", None)
    return end if isinstance(end, datetime) else None
