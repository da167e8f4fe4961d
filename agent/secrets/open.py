"""Builds the configured secret stores; the only place of this folder that knows all of them."""

from collections.abc import Callable, Mapping
from typing import Any

from agent.clouds.base import SecretSource
from agent.config import secret_stores as config
from agent.config.plugged import plugged
from agent.errors import UsageError
from agent.secret import Secret
from agent.secrets.base import SecretStore
from agent.secrets.resolver import OpenStore, SecretResolver

PLUGINS = "cloud_agent.secret_stores"

Factory = Callable[[str, Any, SecretSource], SecretStore]
"""Takes the name, the settings, and where the secrets of the store's own login are."""


def open_secret_stores(
    stores: Mapping[str, config.SecretStore],
    *,
    on_secret: Callable[[Secret], None],
    on_use: Callable[[str], None] = lambda _reference: None,
) -> SecretResolver:
    """Return a resolver over *stores*; does no I/O, the first use of a store logs in to it.

    Raises:
        UsageError: A type is unknown, or a store can't be built from its settings.
    """
    opened: dict[str, OpenStore] = {}
    # A store may find the secret of its own login in another one, so it is given the whole.
    resolver = SecretResolver(opened, on_secret=on_secret, on_use=on_use)
    for name, store in stores.items():
        factory = _factory(name, store.type)
        opened[name] = OpenStore(factory(name, store, resolver), store.type, store.cache)
    return resolver


def _file(_name: str, store: config.FileSecretStore, _secrets: SecretSource) -> SecretStore:
    from agent.secrets.file import FileSecretStore

    return FileSecretStore(store.root)


def _env(_name: str, store: config.EnvSecretStore, _secrets: SecretSource) -> SecretStore:
    from agent.secrets.env import EnvSecretStore

    return EnvSecretStore(store.prefix)


def _vault(name: str, store: config.VaultSecretStore, secrets: SecretSource) -> SecretStore:
    from agent.secrets.vault.open import open_vault

    return open_vault(name, store, on_secret=secrets.register)


def _aws(
    name: str,
    store: config.AwsSecretsManager | config.AwsParameterStore,
    secrets: SecretSource,
) -> SecretStore:
    from agent.clouds.aws.open import open_aws_login
    from agent.secrets.aws_parameter_store import ParameterStore
    from agent.secrets.aws_secrets_manager import SecretsManager
    from agent.secrets.aws_store import AwsSecretStore

    login = open_aws_login(f"secret store {name}", store, secrets)
    manager = isinstance(store, config.AwsSecretsManager)
    shelf = (SecretsManager if manager else ParameterStore)(login.sts.endpoint)
    return AwsSecretStore(login, shelf, prefix=store.prefix)


def _kubernetes(name: str, store: config.KubernetesSecrets, secrets: SecretSource) -> SecretStore:
    from agent.clouds.kubernetes.open import open_kubernetes_login
    from agent.secrets.kubernetes import KubernetesSecretStore

    login = open_kubernetes_login("secret store", name, store, secrets)
    return KubernetesSecretStore(login, store.namespace)


def _gcp_secret_manager(
    name: str, store: config.GcpSecretManager, secrets: SecretSource
) -> SecretStore:
    from agent.clouds.gcp.login import Place, token_login
    from agent.clouds.gcp.open import open_gcp_tokens
    from agent.secrets.gcp_secret_manager import GcpSecretManagerStore, require_package

    where = f"secret store {name}"
    require_package(where)
    place = Place(store.project_id, store.endpoint_url, store.ca_file)
    login = token_login(where, open_gcp_tokens(store, secrets), place)
    return GcpSecretManagerStore(login, prefix=store.prefix)


def _azure_key_vault(name: str, store: config.AzureKeyVault, secrets: SecretSource) -> SecretStore:
    from agent.clouds.azure.open import open_token_login, require_package
    from agent.secrets.azure_key_vault import AzureKeyVaultStore

    where = f"secret store {name}"
    require_package("azure.keyvault.secrets", where, "it", extra="azure-key-vault")
    login = open_token_login(where, store, secrets, scope=f"{store.audience}/.default")
    return AzureKeyVaultStore(
        store.vault_url,
        login,
        ca_file=store.ca_file,
        verify_resource=store.resource is None,
    )


FACTORIES: Mapping[str, Factory] = {
    "file": _file,
    "env": _env,
    "vault": _vault,
    "aws-secrets-manager": _aws,
    "aws-parameter-store": _aws,
    "gcp-secret-manager": _gcp_secret_manager,
    "azure-key-vault": _azure_key_vault,
    "kubernetes": _kubernetes,
}


def _factory(name: str, kind: str) -> Factory:
    if kind in FACTORIES:
        return FACTORIES[kind]
    plugin = plugged(PLUGINS, kind)
    if plugin is None:
        raise UsageError(f"secret_stores.{name}: there is no type {kind}")
    factory: Factory = plugin.open
    return factory
