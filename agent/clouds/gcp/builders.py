"""Builds google-auth's credentials; asking for tokens with them is `auth`'s part.

All of them are for the scope of the whole cloud: what they may do is for IAM, and for the narrowing
of their tokens, to say.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.auth.transport.requests import Request

Built = tuple["Credentials", str | None]
"""Credentials, and their project where it is known."""

Make = Callable[["Request"], Built]
"""Builds credentials; may ask for what it needs. Blocks."""

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)

_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105  # an address


def host_credentials(request: "Request") -> Built:
    """Return what the host offers: a file, a workload identity, its metadata service."""
    import google.auth

    return google.auth.default(scopes=SCOPES, request=request)


def service_account(document: Mapping[str, Any]) -> Built:
    """Return the credentials of a service account's key."""
    from google.oauth2.service_account import Credentials

    made = Credentials.from_service_account_info(document, scopes=SCOPES)
    return made, document.get("project_id")


def user_account(document: Mapping[str, Any]) -> Built:
    """Return the credentials of a person who once let an application act for them."""
    from google.oauth2.credentials import Credentials

    made = Credentials(
        token=None,
        refresh_token=document["refresh_token"],
        client_id=document["client_id"],
        client_secret=document["client_secret"],
        token_uri=document.get("token_uri") or _TOKEN_URI,
    )
    return made, document.get("quota_project_id")


def external_account(document: Mapping[str, Any]) -> Built:
    """Return the credentials of workload identity federation, from a file, a URL or AWS."""
    from google.auth import aws, identity_pool

    kind = aws if "environment_id" in document["credential_source"] else identity_pool
    return kind.Credentials.from_info(document, scopes=SCOPES), None


def impersonated(make: Make, principal: str, *, seconds: float, iam_url: str) -> Make:
    """Return what builds credentials of *principal*, asked for by those that *make* builds."""

    def build(request: "Request") -> Built:
        from google.auth.impersonated_credentials import Credentials

        source, project = make(request)
        made = Credentials(
            source_credentials=source,
            target_principal=principal,
            target_scopes=SCOPES,
            lifetime=int(seconds),
            iam_endpoint_override=(
                f"{iam_url}/v1/projects/-/serviceAccounts/{principal}:generateAccessToken"
            ),
        )
        return made, project

    return build
