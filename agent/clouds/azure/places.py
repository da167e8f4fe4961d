"""Where Azure's data is, as URIs and settings say it. Nothing here asks anybody."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agent.artifact_uri import ArtifactUri
from agent.credentials import AzureCredentials
from agent.errors import UsageError

# As container@account.dfs.core.windows.net; the same account has its blobs at another name.
_LAKE = re.compile(r"[^@]+@(?P<account>[a-z0-9-]{3,32})\.(?:dfs|blob)\.(?P<cloud>[a-z0-9.-]+)")


@dataclass(frozen=True, slots=True)
class Place:
    """A storage account, and how it is reached."""

    account: str | None = None
    endpoint_url: str | None = None
    ca_file: Path | None = None

    def credentials(self) -> AzureCredentials:
        """Return credentials for this place, without any secret yet."""
        return AzureCredentials(self.account, self.endpoint_url, ca_file=self.ca_file)


def account_of(root: ArtifactUri) -> str | None:
    """Return the account that an ``abfss://`` URI names; None for ``az://``.

    Raises:
        UsageError: It should name one, and does not.
    """
    match = _match(root)
    return match["account"] if match else None


def placed(where: str, place: Place, readable: Sequence[ArtifactUri]) -> Place:
    """Return *place* with what the URIs of *readable* say about it.

    Raises:
        UsageError: They name another account, or several.
    """
    for root in readable:
        match = _match(root)
        if match is None:
            continue
        account = match["account"]
        if place.account not in (None, account):
            raise UsageError(
                f"{where} is for the storage account {place.account}, and {root} lies in "
                f"{account}; use a connector for each account"
            )
        endpoint = place.endpoint_url or f"https://{account}.blob.{match['cloud']}"
        place = replace(place, account=account, endpoint_url=endpoint)
    return place


def containers(readable: Sequence[ArtifactUri]) -> list[str]:
    """Return the names of the containers that *readable* lies in."""
    return sorted({root.bucket.partition("@")[0] for root in readable})


def _match(root: ArtifactUri) -> re.Match[str] | None:
    if root.scheme not in ("abfs", "abfss"):
        return None
    match = _LAKE.fullmatch(root.bucket)
    if match is None:
        raise UsageError(
            f"{root}: should be like {root.scheme}://container@account.dfs.core.windows.net/path"
        )
    return match
