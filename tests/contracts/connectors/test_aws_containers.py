"""What every connector promises, asked of those for EKS clusters and ECR registries."""

import base64
import uuid

import pytest

from agent.config.connectors import AwsConnector
from agent.config.secret_stores import EnvSecretStore
from agent.connectors.open import open_connectors
from agent.secrets.open import open_secret_stores
from agent.testing.connectors import Case, ConnectorContract
from tests.connectors.query_signature import signer_of
from tests.secrets.aws import KEY, in_environment


@pytest.fixture
async def connect(moto, monkeypatch):
    """Opens a connector with the admin's key; the second thing is what the redactor heard of."""
    for name, value in in_environment(moto.admin).items():
        monkeypatch.setenv(name, value)
    seen, opened = [], []
    env = EnvSecretStore(type="env", prefix="AWS_OF_TEST_")
    secrets = open_secret_stores({"env": env}, on_secret=seen.append)

    def open_(**options):
        place = {"region": moto.region, "endpoint_url": moto.endpoint_url}
        aws = AwsConnector(type="aws", method="secret-key", **place, **KEY, **options)
        opened.extend(open_connectors({"it": aws}, secrets).values())
        return opened[-1], seen

    yield open_
    for connector in opened:
        await connector.close()
    await secrets.close()


class TestEks(ConnectorContract):
    """The token of a cluster, as the cluster has STS verify it."""

    @pytest.fixture
    def case(self, connect, moto):
        cluster = f"cluster-{uuid.uuid4()}"
        moto.make_cluster(cluster)
        connector, seen = connect(resource_type="kubernetes-cluster", resource_id=cluster)
        known = {moto.admin.access_key_id: moto.admin.secret_access_key.reveal()}

        async def use(credentials) -> None:
            scheme, _, text = credentials.token.reveal().partition(".")
            url = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
            assert "k8s-aws-v1" == scheme
            assert url.startswith(f"{moto.endpoint_url}/?Action=GetCallerIdentity&Version=2011-")
            assert moto.admin.access_key_id == signer_of(url, {"x-k8s-aws-id": cluster}, known)
            assert signer_of(url, {"x-k8s-aws-id": "another"}, known) is None
            assert credentials.server.endswith(".eks.amazonaws.com")
            assert "BEGIN CERTIFICATE" in credentials.certificate_authority.reveal()

        return Case(connector, use, seen, "arn:aws:iam::123456789012:user/admin")


class TestEcr(ConnectorContract):
    """The login to a registry, that of the account."""

    @pytest.fixture
    def case(self, connect):
        connector, seen = connect(resource_type="docker-registry")

        async def use(credentials) -> None:
            assert "123456789012.dkr.ecr.eu-west-1.amazonaws.com" == credentials.registry
            assert "AWS" == credentials.username.reveal()
            assert "123456789012-auth-token" == credentials.password.reveal()

        return Case(connector, use, seen, "arn:aws:iam::123456789012:user/admin")
