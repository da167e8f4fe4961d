"""Secret stores of AWS, opened from settings with a key that stands in the environment."""

from collections.abc import Mapping

from agent.config.secret_stores import AwsParameterStore, AwsSecretsManager, EnvSecretStore
from agent.secrets.open import open_secret_stores
from agent.secrets.resolver import SecretResolver
from tests.servers.moto import REGION, Key

STORES = {
    "aws-secrets-manager": AwsSecretsManager,
    "aws-parameter-store": AwsParameterStore,
}
KEY = {"access_key_id": "secret://env/ID", "secret_access_key": "secret://env/KEY"}


def in_environment(key: Key) -> Mapping[str, str]:
    """Return the variables that hold *key*."""
    return {"AWS_OF_TEST_ID": key.access_key_id, "AWS_OF_TEST_KEY": key.secret_access_key.reveal()}


def open_aws_store(kind: str, endpoint_url: str, **options: object) -> SecretResolver:
    """Return a resolver with a store ``it`` of *kind*, that logs in with the key by default."""
    login = {"method": "secret-key", "region": REGION, "endpoint_url": endpoint_url, **KEY}
    store = STORES[kind](type=kind, **(login | options))
    env = EnvSecretStore(type="env", prefix="AWS_OF_TEST_")
    return open_secret_stores({"env": env, "it": store}, on_secret=lambda _: None)
