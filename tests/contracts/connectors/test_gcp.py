"""What every connector promises, asked of each method against doubles of Google's services."""

import pytest

from agent.artifact_uri import ArtifactUri
from agent.config.connectors import GcpConnector
from agent.config.secret_stores import EnvSecretStore
from agent.connectors.open import open_connectors
from agent.credentials import GcpCredentials, KubernetesCredentials, RegistryCredentials
from agent.secrets.open import open_secret_stores
from agent.testing.connectors import Case, ConnectorContract
from tests.doubles.gcp import AUDIENCE, AWS_REQUEST, EMAIL, PERSON, TARGET, running_google

KEY = "secret://env/JSON"
METHODS = {
    "implicit": ({}, EMAIL),
    "implicit at a metadata server": ({}, EMAIL),
    "user-account": ({"user_account_json": KEY}, PERSON),
    "service-account": ({"service_account_json": KEY}, EMAIL),
    "external-account": ({"external_account_json": KEY}, AUDIENCE),
    "external-account by file": ({"external_account_json": KEY}, AUDIENCE),
    "external-account by AWS": ({"external_account_json": KEY}, AUDIENCE),
    "external-account that impersonates": ({"external_account_json": KEY}, TARGET),
    "oauth2-token": ({"token": "secret://env/TOKEN"}, PERSON),
    "impersonation": ({"service_account_json": KEY, "target_principal": TARGET}, TARGET),
    "impersonation by the host": ({"target_principal": TARGET}, TARGET),
}
AWS_SOURCE = {
    "environment_id": "aws1",
    "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity",
}
RESOURCES = {
    "gcs-bucket": ({"resource_id": "gs://artifacts"}, GcpCredentials),
    "kubernetes-cluster": ({"resource_id": "europe-west1/prod"}, KubernetesCredentials),
    "docker-registry": ({"resource_id": "europe-docker.pkg.dev"}, RegistryCredentials),
}


@pytest.fixture
def google():
    with running_google() as google:
        yield google


@pytest.fixture
def secrets():
    seen = []
    resolver = open_secret_stores(
        {"env": EnvSecretStore(type="env", prefix="T_")}, on_secret=seen.append
    )
    resolver.seen = seen
    return resolver


@pytest.fixture
async def connect(google, secrets, monkeypatch, tmp_path):
    """Opens a connector by its method, with what that needs in the environment."""
    opened = []

    def open_(method, **options):
        _prepare(method, google, monkeypatch, tmp_path)
        given = {
            "sts_endpoint_url": google.url,
            "iam_endpoint_url": google.url,
            "tokeninfo_endpoint_url": google.url,
            "container_endpoint_url": google.url,
        }
        given |= METHODS[method][0] | options
        gcp = GcpConnector(type="gcp", method=method.split(" ")[0], **given)
        readable = {"it": [ArtifactUri.parse("gs://artifacts/ml")]}
        opened.extend(open_connectors({"it": gcp}, secrets, readable=readable).values())
        return opened[-1]

    yield open_
    for connector in opened:
        await connector.close()
    await secrets.close()


def _prepare(method, google, monkeypatch, tmp_path) -> None:
    kind, _, how = method.partition(" ")
    file = tmp_path / "subject-token"
    file.write_text("signed-by-the-identity-provider")
    url = f"{google.url}/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken"
    documents = {
        "user-account": google.user_account(),
        "external-account": {
            "": google.external_account(),
            "by file": google.external_account({"file": str(file)}),
            "by AWS": google.external_account(AWS_SOURCE, subject_token_type=AWS_REQUEST),
            "that impersonates": google.external_account(service_account_impersonation_url=url),
        }.get(how, ""),
    }
    monkeypatch.setenv("T_JSON", documents.get(kind, google.service_account()))
    monkeypatch.setenv("T_TOKEN", google.given())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "TESTKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-host")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
    if how == "at a metadata server":
        from google.auth.compute_engine import _metadata

        host = google.url.removeprefix("http://")
        monkeypatch.setenv("GCE_METADATA_IP", host)
        monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", host)
        monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    else:
        key_file = tmp_path / "key.json"
        key_file.write_text(google.service_account())
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file))


def _use(google):
    async def use(credentials) -> None:
        token = getattr(credentials, "password", None) or credentials.token
        assert token.reveal() in google.whose

    return use


class TestGcp(ConnectorContract):
    """Each method, with tokens narrowed to an artifact store."""

    @pytest.fixture(params=METHODS)
    def case(self, request, connect, secrets, google):
        who = METHODS[request.param][1]
        return Case(connect(request.param), _use(google), secrets.seen, who)


class TestResources(ConnectorContract):
    """Each resource type, by a service account."""

    @pytest.fixture(params=RESOURCES)
    def case(self, request, connect, secrets, google):
        options, gives = RESOURCES[request.param]
        connector = connect("service-account", resource_type=request.param, **options)
        assert connector.gives is gives
        return Case(connector, _use(google), secrets.seen, EMAIL)
