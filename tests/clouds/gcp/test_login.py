"""What logins to Google do with rotated, refused and missing secrets, and what they load."""

import asyncio
import socket
import subprocess
import sys
import traceback
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from agent import egress
from agent.clouds.gcp.auth import Google
from agent.clouds.gcp.methods import Issued, Recipe
from agent.errors import AccessDenied, CredentialUnavailable
from tests.doubles.gcp import EMAIL, PERSON, TARGET, private_key
from tests.servers.processes import free_port
from tests.waiting import until

IMPERSONATION = {"target_principal": TARGET, "duration": "15m"}


async def test_a_token_is_issued_once_for_many(connect, google, seen):
    connector = connect()

    first, *others = await asyncio.gather(*(connector.credentials() for _ in range(50)))

    assert [first] * 49 == others
    assert ["/token"] == google.paths()
    assert "test-project" == first.project_id
    assert {first.token.reveal(), private_key()} <= {secret.reveal() for secret in seen}


async def test_a_short_token_is_issued_again_before_its_end(connect, google):
    google.life = timedelta(seconds=1)
    connector = connect()
    first = await connector.credentials()

    async def newer() -> bool:
        return await connector.credentials() != first

    await until(newer)
    assert ["/token"] * 2 == google.paths()


async def test_a_key_that_was_rotated_is_read_again_once(connect, google, store):
    store.contents["gcp"]["json"] = google.user_account(refresh_token="of-yesterday")
    connector = connect("user-account")
    with pytest.raises(CredentialUnavailable) as failure:
        await connector.credentials()
    assert 2 == store.reads
    assert f"{google.host} answered 400 invalid_grant" == failure.value.detail

    store.contents["gcp"]["json"] = google.user_account()

    assert await connector.credentials()


async def test_a_refused_token_is_issued_anew_from_a_secret_that_is_read_anew(connect, store):
    connector = connect()
    refused = await connector.credentials()

    with capture_logs() as logs:
        connector.invalidate(refused)
        connector.invalidate(refused)
    renewed = await connector.credentials()

    assert refused.token != renewed.token
    assert 2 == store.reads
    assert [("credential.refused", "ml")] == [(one["event"], one["connector"]) for one in logs]


async def test_what_google_quotes_is_not_repeated(connect, google, store):
    """The assertion that it refused stands in its answer, and in the exception of google-auth."""
    store.contents["gcp"]["json"] = google.service_account(client_email="x@y.example")
    google.failures = [(400, {"error": "invalid_grant", "error_description": "quoted eyJ"})] * 2

    with pytest.raises(CredentialUnavailable) as failure:
        await connect().credentials()

    shown = "".join(traceback.format_exception(failure.value)) + str(failure.value.detail)
    assert "quoted" not in shown
    assert f"{google.host} answered 400 invalid_grant" == failure.value.detail


async def test_google_being_down_is_said_without_a_place(connect, google, store):
    nowhere = f"http://127.0.0.1:{free_port()}/token"
    store.contents["gcp"]["json"] = google.service_account(token_uri=nowhere)

    with pytest.raises(CredentialUnavailable) as failure:
        await connect().credentials()

    assert "no answer from Google: ConnectionError" == failure.value.detail


async def test_google_saying_nothing_is_not_waited_for(connect, google, monkeypatch):
    """Neither by the caller nor by the thread that asks; google-auth would wait two minutes."""
    monkeypatch.setattr("agent.clouds.gcp.auth.ANSWER_SECONDS", 0.2)
    google.gate.clear()

    with pytest.raises(CredentialUnavailable) as failure:
        await connect().credentials()

    assert "no answer from Google: ReadTimeout" == failure.value.detail


async def test_a_login_that_google_fails_at_for_a_moment_succeeds(connect, google):
    google.failures = [(503, {"error": "temporarily_unavailable"})]

    assert await connect().credentials()
    assert ["/token"] * 2 == google.paths()


async def test_an_impersonated_token_is_asked_for_with_all_that_is_configured(connect, google):
    credentials = await connect("impersonation", **IMPERSONATION).credentials()

    path, form = google.requests[-1]
    assert f"/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken" == path
    assert ("900s", "['https://www.googleapis.com/auth/cloud-platform']") == (
        form["lifetime"],
        form["scope"],
    )
    assert TARGET == google.whose[credentials.token.reveal()]


async def test_who_may_not_impersonate_is_told_so(connect, google):
    other = IMPERSONATION | {"target_principal": "other@test-project.iam.gserviceaccount.com"}

    with pytest.raises(CredentialUnavailable) as failure:
        await connect("impersonation", **other).credentials()

    assert f"{google.host} answered 403 PERMISSION_DENIED" == failure.value.detail


@pytest.mark.parametrize(
    "source",
    [
        {"executable": {"command": "/bin/touch /tmp/run-by-the-agent"}},
        {"url": "https://x.example/", "executable": {"command": "/bin/true"}},
        {"file": "/x", "certificate": {"use_default_certificate_config": True}},
        {},
        {"url": "http://idp.example.com/token"},
        {"environment_id": "aws1", "region_url": "http://169.254.169.254.example.com/"},
    ],
)
async def test_a_source_that_runs_or_tells_is_refused_before_anything_is_asked(
    connect, google, store, source
):
    document = google.external_account(source or {"nothing": 1})
    store.contents["gcp"]["json"] = document

    with pytest.raises(CredentialUnavailable) as failure:
        await connect("external-account").credentials()

    assert "credential_source" in failure.value.detail
    assert [] == google.requests


@pytest.mark.parametrize("url", ["http://oauth.example.com/token", "ftp://x", "", 7, "https://"])
async def test_a_key_goes_to_no_address_in_the_clear(connect, google, store, url):
    store.contents["gcp"]["json"] = google.service_account(token_uri=url)

    with pytest.raises(CredentialUnavailable) as failure:
        await connect().credentials()

    assert "token_uri of the JSON should be an https:// address" == failure.value.detail


@pytest.mark.parametrize("text", ["not-json-but-secret", "[]", '{"type": "secret-type"}', "NaN"])
async def test_a_secret_that_is_no_key_is_not_repeated(connect, store, text):
    store.contents["gcp"]["json"] = text

    with pytest.raises(CredentialUnavailable) as failure:
        await connect().credentials()

    assert "service_account" in failure.value.detail
    assert "secret" not in failure.value.detail


async def test_a_key_that_is_no_key_is_not_repeated(connect, google, store):
    store.contents["gcp"]["json"] = google.service_account(private_key="hidden-key")

    with pytest.raises(CredentialUnavailable) as failure:
        await connect().credentials()

    assert "the JSON of the login is not as Google makes it" in failure.value.detail
    assert "hidden-key" not in "".join(traceback.format_exception(failure.value))


async def test_a_token_file_that_is_missing_is_said(connect, google, store, tmp_path):
    store.contents["gcp"]["json"] = google.external_account({"file": str(tmp_path)})

    with pytest.raises(CredentialUnavailable) as failure:
        await connect("external-account").credentials()

    assert "could not be read: IsADirectoryError" in failure.value.detail


async def test_a_given_token_is_handed_on_as_it_stands(connect, google, store):
    connector = connect("oauth2-token", project_id="p")

    credentials = await connector.credentials()

    assert store.contents["gcp"]["token"] == credentials.token.reveal()
    assert ("p", None) == (credentials.project_id, credentials.expires_at)
    assert [] == google.requests
    identity = await connector.identity()
    assert PERSON == identity.name
    assert identity.expires_at is not None


async def test_a_given_token_that_was_revoked_is_refused_by_name(connect, google, store):
    store.contents["gcp"]["token"] = "revoked"

    with pytest.raises(AccessDenied) as failure:
        await connect("oauth2-token").identity()

    assert f"{google.host} answered 400 invalid_token" == failure.value.detail
    assert 2 == store.reads


async def test_a_token_never_stands_in_a_url(connect, google):
    await connect("oauth2-token").identity()

    assert ["/tokeninfo"] == google.paths()


async def test_a_given_token_with_the_newline_of_its_file_is_refused(connect, store):
    store.contents["gcp"]["token"] = "token\n"

    with pytest.raises(CredentialUnavailable) as failure:
        await connect("oauth2-token").credentials()

    assert "the token has characters that no header can hold" == failure.value.detail


async def test_a_host_without_credentials_is_unavailable(connect, monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing"))

    with pytest.raises(CredentialUnavailable) as failure:
        await connect("implicit").credentials()

    assert "no usable Google credentials" in failure.value.detail


async def test_a_host_may_not_have_programs_run(connect, monkeypatch):
    monkeypatch.setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")

    with pytest.raises(CredentialUnavailable) as failure:
        await connect("implicit").credentials()

    assert "runs no programs" in failure.value.detail


async def test_a_private_ca_that_is_missing_is_said(connect, tmp_path):
    with pytest.raises(CredentialUnavailable) as failure:
        await connect(ca_file=tmp_path / "missing.pem").credentials()

    assert f"{tmp_path}/missing.pem: No such file or directory" == failure.value.detail


@pytest.mark.parametrize("asks", [True, False])
async def test_only_a_login_that_asks_the_host_reaches_its_metadata_service(connect, asks):
    reached = []

    class Source:
        async def recipe(self) -> Recipe:
            return Recipe(self.make, metadata=asks)

        def make(self, _request):
            with socket.socket() as one:
                egress._watch("socket.connect", (one, ("169.254.169.254", 80)))
            reached.append("metadata")
            raise ValueError

    with pytest.raises((CredentialUnavailable, egress.EgressRefused)):
        await Issued(connect()._tokens.secrets, Source(), Google()).issue()

    assert (["metadata"] if asks else []) == reached


async def test_a_clusters_address_and_ca_are_asked_for(connect, google):
    connector = connect(resource_type="kubernetes-cluster", resource_id="europe-west1/prod")

    credentials = await connector.credentials()

    path = "/v1/projects/test-project/locations/europe-west1/clusters/prod"
    assert path == google.paths()[-1]
    assert "https://203.0.113.7" == credentials.server
    assert "PEM of a CA" == credentials.certificate_authority.reveal()
    assert EMAIL == google.whose[credentials.token.reveal()]


async def test_a_cluster_that_is_reached_by_name_has_a_public_certificate(connect, google):
    google.cluster = {
        "controlPlaneEndpointsConfig": {"dnsEndpointConfig": {"endpoint": "gke-1.example.goog"}}
    }

    options = {"resource_type": "kubernetes-cluster", "resource_id": "europe-west1/prod"}
    credentials = await connect(**options).credentials()

    assert ("https://gke-1.example.goog", None) == (
        credentials.server,
        credentials.certificate_authority,
    )


async def test_a_cluster_without_an_address_is_unavailable(connect, google):
    google.cluster = {"status": "PROVISIONING"}

    options = {"resource_type": "kubernetes-cluster", "resource_id": "europe-west1/prod"}
    with pytest.raises(CredentialUnavailable) as failure:
        await connect(**options).credentials()

    assert "GKE did not say where the cluster is" == failure.value.detail


def test_a_given_token_loads_no_sdk():
    """Neither google-auth nor requests is imported for the credentials of a given token."""
    program = """
import asyncio, os, sys
from agent.config.connectors import GcpConnector
from agent.config.secret_stores import EnvSecretStore
from agent.connectors.open import open_connectors
from agent.secrets.open import open_secret_stores
os.environ["X"] = "x"
secrets = open_secret_stores({"env": EnvSecretStore(type="env")}, on_secret=lambda secret: None)
gcp = GcpConnector(type="gcp", method="oauth2-token", token="secret://env/X")
asyncio.run(open_connectors({"ml": gcp}, secrets)["ml"].credentials())
print(sorted(name for name in sys.modules if name.split(".")[0] == "google"))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "[]" == ran.stdout.strip()
