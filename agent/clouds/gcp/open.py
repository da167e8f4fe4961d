"""Builds logins to Google Cloud from settings."""

from collections.abc import Mapping
from typing import Any, assert_never

from agent.clouds.base import SecretSource
from agent.clouds.gcp.auth import STS_URL, TOKENINFO_URL, Google
from agent.clouds.gcp.builders import external_account, service_account, user_account
from agent.clouds.gcp.login import Tokens
from agent.clouds.gcp.methods import Document, Given, Host, Impersonated, Issued, Method, Source
from agent.config import clouds as config
from agent.config.parts import Reference

IAM_URL = "https://iamcredentials.googleapis.com"


def open_gcp_tokens(
    gcp: config.GcpLogin, secrets: SecretSource, *, boundary: Mapping[str, Any] | None = None
) -> Tokens:
    """Return what issues the tokens of the login that *gcp* describes, narrowed to *boundary*.

    Does no I/O, loads no SDK.
    """
    google = Google(
        ca_file=gcp.ca_file,
        sts_url=(gcp.sts_endpoint_url or STS_URL).rstrip("/"),
        tokeninfo_url=(gcp.tokeninfo_endpoint_url or TOKENINFO_URL).rstrip("/"),
    )
    return Tokens(_method(gcp, secrets, google), google, secrets, boundary=boundary)


def _method(gcp: config.GcpLogin, secrets: SecretSource, google: Google) -> Method:
    if gcp.method == "oauth2-token":
        return Given(secrets, _needed(gcp.token))
    return Issued(secrets, _source(gcp, secrets), google)


def _source(gcp: config.GcpLogin, secrets: SecretSource) -> Source:
    match gcp.method:
        case "implicit":
            return Host()
        case "service-account":
            reference = _needed(gcp.service_account_json)
            return Document(secrets, reference, "service_account", service_account)
        case "user-account":
            reference = _needed(gcp.user_account_json)
            return Document(secrets, reference, "authorized_user", user_account)
        case "external-account":
            reference = _needed(gcp.external_account_json)
            return Document(secrets, reference, "external_account", external_account)
        case "impersonation":
            return Impersonated(
                _impersonator(gcp, secrets),
                gcp.target_principal or "",
                seconds=gcp.duration,
                iam_url=(gcp.iam_endpoint_url or IAM_URL).rstrip("/"),
            )
        case "oauth2-token":
            raise AssertionError("a given token has no source")
    assert_never(gcp.method)


def _impersonator(gcp: config.GcpLogin, secrets: SecretSource) -> Source:
    if gcp.service_account_json is None:
        return Host()
    return Document(secrets, gcp.service_account_json, "service_account", service_account)


def _needed(reference: Reference | None) -> Reference:
    if reference is None:
        raise AssertionError("the settings require it")
    return reference
