"""Azure Key Vault: names, permissions, renewal, and whom a token is given to."""

import pytest

from agent.clouds.azure import open as opening
from agent.config.secret_stores import AzureKeyVault, EnvSecretStore
from agent.errors import CredentialUnavailable, UsageError
from agent.secret_reference import SecretReference
from agent.secrets.open import open_secret_stores
from tests.doubles.azure import CLIENT, TENANT, Answer, Entra, served
from tests.doubles.azure_key_vault import RESOURCE, KeyVault


@pytest.fixture
def vault():
    return KeyVault(Entra())


@pytest.fixture
async def opened(vault, certificate_authority, monkeypatch):
    """Opens a resolver over the vault; options are of its configuration."""
    monkeypatch.setenv("T_SECRET", vault.entra.secret)
    resolvers = []
    answers = (vault.entra.answer, vault.answer)
    with served(*answers, authority=certificate_authority) as vault.entra.url:

        def open_(**options):
            given = {
                "vault_url": vault.entra.url,
                "resource": RESOURCE,
                "method": "service-principal",
                "tenant_id": TENANT,
                "client_id": CLIENT,
                "client_secret": "secret://env/SECRET",
                "authority_host": vault.entra.url,
                "ca_file": certificate_authority.ca_file,
            }
            store = AzureKeyVault(type="azure-key-vault", **{**given, **options})
            stores = {"kv": store, "env": EnvSecretStore(type="env", prefix="T_")}
            resolvers.append(open_secret_stores(stores, on_secret=lambda _: None))
            return resolvers[-1]

        yield open_
        for resolver in resolvers:
            await resolver.close()


def reference(text: str) -> SecretReference:
    parsed = SecretReference.parse(f"secret://kv/{text}")
    assert isinstance(parsed, SecretReference)
    return parsed


async def refusal(resolver, text: str) -> str:
    with pytest.raises(CredentialUnavailable) as failure:
        await resolver.resolve(reference(text))
    return str(failure.value.detail)


async def test_fields_and_versions_are_named_by_references(vault, opened):
    old = vault.put("ml-s3", '{"id": "first"}')
    vault.put("ml-s3", '{"id": "second"}')
    resolver = opened()

    assert "second" == (await resolver.resolve(reference("ml-s3#id"))).reveal()
    assert "first" == (await resolver.resolve(reference(f"ml-s3?version={old}#id"))).reveal()


async def test_a_whole_text_is_a_secret_too(vault, opened):
    vault.put("token", "plain text")

    assert "plain text" == (await opened().resolve(reference("token"))).reveal()


@pytest.mark.parametrize("text", ["a/b", "a_b", "..", "a?version=../b", "a%2Fb"])
async def test_what_is_no_name_is_not_asked_for(vault, opened, text):
    assert "is no name of a" in await refusal(opened(), text)
    assert [] == vault.asked


async def test_one_login_serves_many_readings(vault, opened):
    vault.put("a", "1")
    vault.put("b", "2")
    resolver = opened()

    for name in ("a", "b", "a"):
        await resolver.resolve(reference(name))

    assert len(vault.entra.issued) == 1


async def test_a_token_that_is_refused_is_renewed(vault, opened):
    vault.put("a", "1")
    vault.put("b", "2")
    resolver = opened()
    await resolver.resolve(reference("a"))
    vault.entra.issued.clear()

    assert "2" == (await resolver.resolve(reference("b"))).reveal()


async def test_a_secret_that_is_forbidden_is_named_as_refused(vault, opened):
    vault.put("a", "1")
    vault.forbidden.add("a")

    assert "Key Vault: Azure answered 403 Forbidden" == await refusal(opened(), "a")


async def test_a_vault_that_fails_is_asked_again_and_then_given_up(vault, opened):
    vault.put("a", "1")
    vault.failure = Answer(503, {"error": {"code": "ServiceUnavailable"}})

    assert "503" in await refusal(opened(), "a")
    vault.failure = None
    assert "1" == (await opened().resolve(reference("a"))).reveal()


class TestCheck:
    """It says who we are, and what that is good for."""

    async def test_of_a_vault_that_answers(self, vault, opened):
        line = await opened().check("kv")

        assert line.startswith(f"Key Vault answers application {CLIENT}")

    async def test_of_a_vault_that_may_not_be_read_as_a_whole(self, vault, opened):
        vault.forbidden.add("cloud-agent-check")

        assert (await opened().check("kv")).endswith(", but not every secret may be read")

    async def test_of_a_vault_that_takes_no_token(self, vault, opened):
        vault.resource = "https://vault.azure.cn"

        with pytest.raises(CredentialUnavailable) as failure:
            await opened().check("kv")
        assert "401" in str(failure.value.detail)


class TestAudience:
    """A token is for vaults, whatever a vault asks for."""

    @pytest.mark.parametrize(
        ("url", "audience"),
        [
            ("https://acme.vault.azure.net", "https://vault.azure.net"),
            ("https://acme.vault.azure.cn/", "https://vault.azure.cn"),
            ("https://acme.managedhsm.azure.net", "https://managedhsm.azure.net"),
        ],
    )
    def test_is_the_domain_of_the_vault(self, url, audience):
        store = AzureKeyVault(type="azure-key-vault", vault_url=url)

        assert audience == store.audience

    async def test_is_not_what_a_vault_asks_for(self, vault, opened):
        """One that asks for a token for the Resource Manager gets none that is good there."""
        vault.resource = "https://management.azure.com"

        await refusal(opened(), "a")

        assert {RESOURCE} == {claims["aud"] for claims in vault.entra.issued}

    async def test_of_another_domain_is_refused_without_a_resource(self, vault, opened):
        vault.put("a", "1")
        resolver = opened(resource=None, vault_url=f"{vault.entra.url}")

        assert await refusal(resolver, "a")
        assert all("Authorization" not in asked.headers for asked in vault.asked)


class TestOpening:
    """It refuses what cannot work."""

    async def test_without_the_package_names_the_extra(self, opened, monkeypatch):
        monkeypatch.setattr(opening, "find_spec", lambda _: None)

        with pytest.raises(UsageError) as failure:
            opened()

        install = "pip install 'cloud-agent[azure-key-vault]'"
        expected = f"secret store kv: it needs the extra azure-key-vault: {install}"
        assert expected == str(failure.value)

    async def test_with_a_storage_account_s_key_is_refused(self, opened):
        with pytest.raises(UsageError, match="secret store kv: method account-key is for"):
            opened(method="account-key", account_key="secret://env/SECRET")
