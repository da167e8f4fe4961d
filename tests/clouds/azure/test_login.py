"""Logins to Azure: what they issue, what renews them, what they refuse, and who may be asked."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import pytest

from agent import egress
from agent.artifact_uri import ArtifactUri
from agent.clouds.azure import open as opening
from agent.errors import AccessDenied, CredentialUnavailable, StoreUnavailable, UsageError
from tests.artifacts.places import closed_port
from tests.clouds.azure.lab import METHODS, PRINCIPAL, ROOT, STORAGE, azure_lab, sas, use
from tests.doubles.azure import Answer, served
from tests.servers.azurite import ACCOUNT, KEY, OTHER_CONTAINER

OF_ENTRA = [kind for kind in METHODS if kind.split()[0] not in
            ("account-key", "sas-token", "connection-string", "access-token")]  # fmt: skip


@pytest.fixture
async def lab(azurite, certificate_authority, monkeypatch, tmp_path):
    async with azure_lab(azurite, certificate_authority, monkeypatch, tmp_path) as lab:
        yield lab


async def refusal(connector) -> str:
    """Return why *connector* has no credentials."""
    with pytest.raises(CredentialUnavailable) as failure:
        await connector.credentials()
    return str(failure.value.detail)


class TestNarrowing:
    """A token that could read more becomes a SAS for one container."""

    @pytest.mark.parametrize("kind", ["access-token", "service-principal", "managed-identity"])
    async def test_reads_that_container_and_no_other(self, lab, kind):
        credentials = await lab.connect(kind).credentials()

        await use(credentials)
        with pytest.raises(AccessDenied):
            await use(credentials, OTHER_CONTAINER)
        assert (None, None) == (credentials.token, credentials.account_key)

    async def test_can_read_and_list_for_an_hour_at_most(self, lab):
        lab.entra.life = 7200
        credentials = await lab.connect("service-principal").credentials()

        parameters = parse_qs(credentials.sas_token.reveal())
        assert (["rl"], ["c"], ["https"]) == tuple(parameters[key] for key in ("sp", "sr", "spr"))
        assert credentials.expires_at <= datetime.now(UTC) + timedelta(hours=1)

    async def test_ends_with_the_token(self, lab):
        lab.entra.life = 600
        credentials = await lab.connect("service-principal").credentials()

        assert credentials.expires_at <= datetime.now(UTC) + timedelta(seconds=600)

    async def test_to_a_resource_that_is_named(self, lab):
        """Where no store says what is read, the resource does."""
        options = {"resource_type": "blob-container", "resource_id": f"az://{OTHER_CONTAINER}"}
        credentials = await lab.connect("service-principal", readable=(), **options).credentials()

        await use(credentials, OTHER_CONTAINER)
        with pytest.raises(AccessDenied):
            await use(credentials)

    async def test_that_is_refused_leaves_nothing_and_says_what_to_do(
        self, lab, certificate_authority
    ):
        """An identity that may read, but not delegate."""
        refused = Answer(403, b"", {"x-ms-error-code": "AuthorizationPermissionMismatch"})
        with served(lambda _: refused, authority=certificate_authority) as url:
            detail = await refusal(lab.connect("access-token", endpoint_url=url))

        assert "403 AuthorizationPermissionMismatch: give the identity the role" in detail
        assert detail.endswith("or set narrow: false")

    async def test_sends_no_token_without_tls(self, lab):
        asked = []
        with served(asked.append, authority=None) as url:
            assert await refusal(lab.connect("access-token", endpoint_url=url))

        assert [] == asked

    async def test_can_be_left_out(self, lab):
        credentials = await lab.connect("service-principal as it is").credentials()

        await use(credentials, OTHER_CONTAINER)
        assert credentials.sas_token is None

    def test_to_several_containers_is_refused_at_once(self, lab):
        roots = [ROOT, ArtifactUri.parse(f"az://{OTHER_CONTAINER}")]

        with pytest.raises(UsageError, match="connector it: its token can't be narrowed"):
            lab.connect("service-principal", readable=roots)


class TestRenewal:
    """What was rotated is used without a restart."""

    async def test_of_a_client_secret(self, lab):
        connector = lab.connect("service-principal")
        used = await connector.credentials()
        lab.entra.secret = "the-rotated-client-secret"
        lab.give("T_SECRET", lab.entra.secret)

        connector.invalidate(used)

        await use(await connector.credentials())

    async def test_of_a_client_secret_that_was_read_before(self, lab):
        """It is kept for minutes, and read again as soon as Entra refuses it."""
        lab.entra.secret = "the-rotated-client-secret"
        connector = lab.connect("service-principal")
        await refusal(connector)

        lab.give("T_SECRET", lab.entra.secret)

        await use(await connector.credentials())

    @pytest.mark.parametrize(
        ("kind", "name"), [("sas-token", "T_SAS"), ("access-token", "T_TOKEN")]
    )
    async def test_of_what_the_customer_renews(self, lab, kind, name):
        over = {"T_SAS": sas(life=-60), "T_TOKEN": lab.entra.token(STORAGE, life=-60)}
        good = {"T_SAS": sas(), "T_TOKEN": lab.entra.token(STORAGE)}
        lab.give(name, over[name])
        connector = lab.connect(kind)
        assert "ended at 20" in await refusal(connector)

        lab.give(name, good[name])

        await use(await connector.credentials())

    async def test_of_a_workload_s_assertion(self, lab):
        connector = lab.connect("workload-identity")
        await use(await connector.credentials())
        lab.entra.assertion = "the-next-assertion"
        lab.assertion.write_text("the-next-assertion")

        connector.invalidate(await connector.credentials())

        await use(await connector.credentials())

    async def test_of_an_account_key_when_it_is_refused(self, lab):
        lab.give("T_KEY", "bm90LXRoZS1rZXktb2YtdGhhdC1hY2NvdW50")
        connector = lab.connect("account-key")
        used = await connector.credentials()
        with pytest.raises(AccessDenied):
            await use(used)

        lab.give("T_KEY", KEY.reveal())
        connector.invalidate(used)

        await use(await connector.credentials())


class TestRefusals:
    """They name what is wrong, and no secret."""

    async def test_by_entra_has_its_code_only(self, lab):
        lab.give("T_SECRET", "not-the-secret")

        detail = await refusal(lab.connect("service-principal"))

        assert "Microsoft Entra refused: AADSTS7000215" == detail

    @pytest.mark.parametrize("kind", OF_ENTRA)
    async def test_of_a_server_that_fails(self, lab, kind):
        lab.entra.failure = Answer(500, {"error": "server_error"})

        assert await refusal(lab.connect(kind))

    async def test_of_an_authority_that_is_down(self, lab):
        nowhere = f"https://127.0.0.1:{closed_port()}"

        detail = await refusal(lab.connect("service-principal", authority_host=nowhere))

        assert "did not answer" in detail

    async def test_of_an_authority_that_is_not_trusted(self, lab, tmp_path):
        detail = await refusal(lab.connect("service-principal", ca_file=None))

        assert "did not answer" in detail

    @pytest.mark.parametrize("kind", ["implicit by managed identity", "managed-identity"])
    async def test_of_a_host_without_an_identity(self, lab, kind):
        connector = lab.connect(kind)
        lab.give("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://127.0.0.1:{closed_port()}")

        assert (await refusal(connector)).startswith("no identity of Azure is at hand")

    async def test_of_a_missing_assertion(self, lab):
        lab.assertion.unlink()

        assert "no login" in await refusal(lab.connect("workload-identity"))

    async def test_of_a_ca_file_that_is_missing(self, lab, tmp_path):
        detail = await refusal(lab.connect("service-principal", ca_file=tmp_path / "missing.pem"))

        assert "missing.pem: No such file" in detail

    @pytest.mark.parametrize(
        ("kind", "name", "value", "why"),
        [
            ("sas-token", "T_SAS", "sv=1&sp=r", "no SAS token"),
            ("sas-token", "T_SAS", "sv=1&sig=a b", "characters"),
            ("account-key", "T_KEY", "not base64", "characters"),
            ("account-key", "T_KEY", "not-base64", "base64"),
            ("access-token", "T_TOKEN", "a.b.c\n", "characters"),
        ],
    )
    async def test_of_what_is_not_what_it_should_be(self, lab, kind, name, value, why):
        lab.give(name, value)

        detail = await refusal(lab.connect(kind))

        assert why in detail
        assert value not in detail

    async def test_of_a_wrong_key_are_told_from_an_account_that_is_down(self, lab):
        lab.give("T_KEY", "bm90LXRoZS1rZXktb2YtdGhhdC1hY2NvdW50")
        nowhere = f"http://127.0.0.1:{closed_port()}/{ACCOUNT}"

        with pytest.raises(AccessDenied):
            await lab.connect("account-key").identity()
        with pytest.raises(StoreUnavailable):
            await lab.connect("account-key", endpoint_url=nowhere).identity()


class TestConnectionStrings:
    """They say themselves which account they are for, and where it is."""

    KIND = "connection-string with a key"

    async def credentials(self, lab, text, **options):
        connector = lab.connect(self.KIND, **{"endpoint_url": None, **options})
        lab.give("T_STRING", text)
        return await connector.credentials()

    async def test_of_the_public_cloud(self, lab):
        text = f"DefaultEndpointsProtocol=https;AccountName=acme;AccountKey={KEY.reveal()};"
        credentials = await self.credentials(
            lab, f"{text}EndpointSuffix=core.windows.net", storage_account=None
        )

        assert "https://acme.blob.core.windows.net" == credentials.endpoint_url
        assert ("acme", KEY) == (credentials.storage_account, credentials.account_key)

    async def test_with_a_sas_and_an_end_point(self, lab):
        text = f"BlobEndpoint=https://acme.blob.core.windows.net/;SharedAccessSignature=?{sas()}"
        credentials = await self.credentials(lab, text, storage_account=None)

        assert "acme" == credentials.storage_account
        assert credentials.sas_token.reveal().startswith("se=")

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("nonsense", "no connection string"),
            ("AccountName=acme;AccountKey=a2V5", f"account acme, not {ACCOUNT}"),
            (f"AccountName={ACCOUNT}", "no AccountKey"),
            (f"AccountName={ACCOUNT};BlobEndpoint=http://acme.example;AccountKey=a2V5", "https://"),
            ("UseDevelopmentStorage=true", "account None"),
        ],
    )
    async def test_that_is_refused(self, lab, text, why):
        with pytest.raises(CredentialUnavailable) as failure:
            await self.credentials(lab, text)

        assert why in failure.value.detail
        assert "a2V5" not in failure.value.detail


class TestAccounts:
    """The account is named by the configuration or by the address of a lake."""

    LAKE = ArtifactUri.parse("abfss://raw@acmelake.dfs.core.chinacloudapi.cn/x")

    async def test_is_that_of_the_address(self, lab):
        connector = lab.connect(
            "account-key", readable=[self.LAKE], storage_account=None, endpoint_url=None
        )
        credentials = await connector.credentials()

        assert "acmelake" == credentials.storage_account
        assert "https://acmelake.blob.core.chinacloudapi.cn" == credentials.endpoint_url

    def test_that_differs_is_refused(self, lab):
        with pytest.raises(UsageError, match="is for the storage account testaccount, and abfss"):
            lab.connect("account-key", readable=[self.LAKE])

    def test_that_is_missing_is_asked_for(self, lab):
        with pytest.raises(UsageError, match="connector it: set storage_account"):
            lab.connect("account-key", storage_account=None)

    @pytest.mark.parametrize("uri", ["abfss://raw/x", "abfss://raw@host/x", "abfs://@a.dfs.b/x"])
    def test_that_no_lake_has_is_refused(self, lab, uri):
        with pytest.raises(UsageError, match="container@account"):
            lab.connect("account-key", readable=[ArtifactUri.parse(uri)])

    def test_without_tls_is_refused(self, lab):
        with pytest.raises(ValueError, match="endpoint_url: use https://"):
            lab.connect("account-key", endpoint_url="http://acme.example")

    def test_of_a_resource_elsewhere_is_refused(self, lab):
        with pytest.raises(UsageError, match="is not within it"):
            lab.connect("account-key", resource_id=f"az://{OTHER_CONTAINER}")


class TestWays:
    """Nobody is asked but who should be."""

    async def test_metadata_services_are_for_the_host_s_own_identity_alone(self, lab, monkeypatch):
        """Here, every address of this host stands for one."""
        egress.guard()
        everywhere = (egress.ipaddress.ip_network("127.0.0.0/8"),)
        monkeypatch.setattr(egress, "_FORBIDDEN", everywhere)
        kinds = ["managed-identity", "implicit by managed identity", "service-principal"]
        connectors = [lab.connect(kind, narrow=False) for kind in kinds]

        for connector in connectors[:2]:
            assert await connector.credentials()
        assert "did not answer" in await refusal(connectors[2])

    async def test_redirects_are_not_followed(self, lab, certificate_authority):
        asked = []
        with served(asked.append, authority=certificate_authority) as elsewhere:
            lab.entra.failure = Answer(307, {}, {"Location": f"{elsewhere}/x"})

            assert await refusal(lab.connect("service-principal"))

        assert [] == asked


class TestOpening:
    """It asks nobody and loads nothing."""

    @pytest.mark.parametrize("kind", OF_ENTRA)
    def test_without_the_package_names_the_extra(self, lab, monkeypatch, kind):
        monkeypatch.setattr(opening, "find_spec", lambda _: None)
        method = kind.split()[0]

        with pytest.raises(UsageError) as failure:
            lab.connect(kind)

        install = "pip install 'cloud-agent[azure]'"
        expected = f"connector it: method {method} needs the extra azure: {install}"
        assert expected == str(failure.value)

    @pytest.mark.parametrize("kind", ["account-key", "sas-token", "connection-string with a key"])
    async def test_of_an_account_s_own_secret_needs_no_extra(self, lab, monkeypatch, kind):
        monkeypatch.setattr(opening, "find_spec", lambda _: None)

        await use(await lab.connect(kind).credentials())

    def test_loads_no_sdk(self):
        program = """
import json, sys
from agent.config.connectors import AzureConnector
from agent.connectors.open import open_connectors
settings = AzureConnector(type="azure", method="service-principal", **json.loads(sys.argv[1]))
open_connectors({"it": settings}, None)
loaded = [name for name in sys.modules if name.startswith(("azure.", "msal", "requests"))]
print(json.dumps(loaded))
"""
        argv = [sys.executable, "-c", program, json.dumps(PRINCIPAL)]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)

        assert [] == json.loads(done.stdout)
