"""A store, its connector and the secret behind it, as one configuration opens them."""

from agent.artifacts.open import open_artifact_stores
from agent.config.artifact_stores import ArtifactStore
from agent.config.connectors import GcpConnector
from agent.config.secret_stores import EnvSecretStore, GcpSecretManager
from agent.connectors.open import open_connectors
from agent.secrets.open import open_secret_stores
from agent.testing.artifact_stores import BLOCK, DATA, read
from tests.artifacts.gcs.places import GcsPlace
from tests.doubles.gcp import TARGET, running_google
from tests.doubles.gcp_proxy import running_gcs_proxy
from tests.doubles.gcp_secret_manager import running_secret_manager
from tests.servers.fake_gcs import start_fake_gcs


async def test_a_fetch_outlives_every_token_that_it_began_with(tmp_path, monkeypatch):
    """The key stands in Secret Manager; its tokens are impersonated, narrowed, and all revoked."""
    server = start_fake_gcs(tmp_path)
    with (
        server.server,
        running_google() as google,
        running_gcs_proxy(server.port) as proxy,
        running_secret_manager(google.whose.get) as manager,
    ):
        place = GcsPlace(server, proxy)
        uri = place.put("model", DATA)
        monkeypatch.setenv("T_KEY", google.service_account())
        manager.put("ml-key", google.service_account().encode())
        stores = {
            "env": EnvSecretStore(type="env", prefix="T_"),
            "gsm": GcpSecretManager(
                type="gcp-secret-manager",
                method="service-account",
                service_account_json="secret://env/KEY",
                endpoint_url=manager.url,
            ),
        }
        secrets = open_secret_stores(stores, on_secret=lambda _: None)
        connector = GcpConnector(
            type="gcp",
            method="impersonation",
            service_account_json="secret://gsm/ml-key",
            target_principal=TARGET,
            endpoint_url=proxy.endpoint_url,
            sts_endpoint_url=google.url,
            iam_endpoint_url=google.url,
        )
        readable = {"ml": [place.root]}
        connectors = open_connectors({"ml": connector}, secrets, readable=readable)
        settings = ArtifactStore(name="ml", uri=str(place.root), connector="ml")
        artifacts = open_artifact_stores([settings], connectors, block_bytes=lambda: BLOCK)
        proxy.tokens = google.whose
        proxy.cut_after = BLOCK
        proxy.at_cut = google.whose.clear

        assert DATA == await read(artifacts.find(uri), uri)

        first, refused, renewed = [token for token, _ in proxy.requests]
        assert first == refused
        assert first.startswith("narrowed-")
        assert renewed.startswith("narrowed-")
        await artifacts.close()
        await connectors["ml"].close()
        await secrets.close()
        await place.close()
