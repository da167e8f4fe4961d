"""The MLflow store and a real tracking server, which keeps artifacts itself or says where they
are."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import ByteRange, Catalog
from agent.artifacts.mlflow.store import MlflowArtifactStore
from agent.artifacts.stores import ArtifactStores
from agent.credentials import HttpCredentials
from agent.errors import (
    AccessDenied,
    Changed,
    CredentialUnavailable,
    NotFound,
    PolicyDenied,
    Unsupported,
)
from agent.guard.policy import Decision, PolicyRequest
from agent.jobs.fetch_artifact import FETCH_ARTIFACT, FetchArtifact
from agent.jobs.kind import Ticket, Tools
from agent.jobs.outputs import Data
from agent.pipelines.run_directories import RunDirectories
from agent.pipelines.runners import PipelineRunners
from agent.testing.artifact_stores import BLOCK, below, entries, read
from agent.testing.connectors import GivenConnector
from tests.artifacts.mlflow.places import MlflowPlace, mlflow_credentials
from tests.artifacts.places import S3Place
from tests.servers.mlflow import Mlflow, Run
from tests.servers.seaweedfs import BUCKET, SeaweedFS

LAB = ArtifactUri.parse("mlflow://lab")


@pytest.fixture
async def store(mlflow: Mlflow) -> AsyncIterator[MlflowArtifactStore]:
    store = opened(mlflow_credentials(mlflow.endpoint_url))
    yield store
    await store.close()


def opened(credentials: HttpCredentials) -> MlflowArtifactStore:
    return MlflowArtifactStore("lab", LAB, GivenConnector(credentials), block_bytes=lambda: BLOCK)


@pytest.fixture
def run(mlflow: Mlflow) -> Run:
    """One whose artifacts the server reads itself."""
    run = mlflow.run()
    mlflow.put(run.artifact_uri, "model/MLmodel", b"flavors: none")
    return run


@pytest.fixture
def direct(mlflow: Mlflow) -> Run:
    """One whose artifacts are in S3, where whoever wants them fetches them."""
    run = mlflow.run(f"s3://{BUCKET}/direct/{uuid.uuid4().hex}")
    mlflow.put(run.artifact_uri, "model/MLmodel", b"flavors: direct")
    return run


@pytest.fixture
def model(mlflow: Mlflow) -> str:
    """The name of a registered model without versions."""
    name = f"churn {uuid.uuid4().hex}"
    mlflow.post("registered-models/create", name=name)
    return name


async def located(store: MlflowArtifactStore, uri: ArtifactUri) -> ArtifactUri:
    """Return what *uri* is at after all steps that `agent.jobs.naming` would ask about."""
    while (found := (await store.locate(uri)).uri) != uri:
        uri = found
    return uri


def run_uri(run: Run, path: str = "model/MLmodel") -> ArtifactUri:
    return below(LAB, f"runs/{run.id}/{path}")


class TestRuns:
    """A run's artifacts are at the server, or elsewhere."""

    async def test_proxied_ones_are_read_through_the_server(
        self, store: MlflowArtifactStore, run: Run
    ) -> None:
        place = await store.locate(run_uri(run))

        assert run_uri(run) == place.uri
        assert b"flavors" == await read(store, run_uri(run), ByteRange(0, 6))

    async def test_others_are_where_mlflow_says(
        self, store: MlflowArtifactStore, direct: Run, seaweedfs: SeaweedFS
    ) -> None:
        """And are read there, with credentials of the agent's own."""
        place = (await store.locate(run_uri(direct))).uri

        assert f"{direct.artifact_uri}/model/MLmodel" == str(place)
        s3_place = S3Place(seaweedfs)
        s3 = type(s3_place.store)("s3", ArtifactUri.parse(f"s3://{BUCKET}"), s3_place.connector,
                               block_bytes=lambda: BLOCK)  # fmt: skip
        assert b"flavors: direct" == await read(s3, place)
        await s3.close()

    async def test_the_server_is_not_asked_to_read_others(
        self, store: MlflowArtifactStore, direct: Run
    ) -> None:
        """It would do so with its own credentials, past the policy for where the bytes are."""
        with pytest.raises(Changed):
            await read(store, run_uri(direct))
        with pytest.raises(Changed):
            await store.list(run_uri(direct, "model"), page_size=1, page_token=None)

    @pytest.mark.parametrize("run", ["0" * 32, "no-such-run", "..a", "a b", "x" * 300, "ü"])
    async def test_no_such_run(self, store: MlflowArtifactStore, run: str) -> None:
        uri = below(LAB, f"runs/{run}/x")

        with pytest.raises(NotFound):
            await store.locate(uri)
        with pytest.raises(NotFound):
            await read(store, uri)

    @pytest.mark.parametrize("path", ["", "runs", "models", "models/churn", "else/x"])
    async def test_what_names_neither_run_nor_model(
        self, store: MlflowArtifactStore, path: str
    ) -> None:
        with pytest.raises(Unsupported, match="runs/RUN"):
            await store.locate(below(LAB, path) if path else LAB)

    @pytest.mark.parametrize(
        "path",
        ["a%2Fb", "%2e%2e/x", "a%252Fb", "x#y", "x?", " x", "file:x", "FILE:x", "Abc:x"],
    )
    async def test_a_path_that_mlflow_reads_anew_is_not_asked_for(
        self, mlflow: Mlflow, store: MlflowArtifactStore, run: Run, path: str
    ) -> None:
        """It would hand out ``a/b`` for ``a%2Fb``, which the policy saw."""
        mlflow.put(run.artifact_uri, "a/b", b"secret")

        with pytest.raises(Unsupported):
            await store.locate(run_uri(run, path))
        with pytest.raises(Unsupported):
            await read(store, run_uri(run, path))


class TestModels:
    """A version of a registered model, by number or alias, stands for what it was made of."""

    async def test_of_a_run(
        self, mlflow: Mlflow, store: MlflowArtifactStore, run: Run, model: str
    ) -> None:
        number = mlflow.version(model, f"runs:/{run.id}/model", run_id=run.id)

        uri = below(LAB, f"models/{model}/{number}/MLmodel")

        assert run_uri(run) == (await store.locate(uri)).uri
        assert b"flavors: none" == await read(store, run_uri(run))
        with pytest.raises(Changed):
            await read(store, uri)

    async def test_of_proxied_artifacts(
        self, mlflow: Mlflow, store: MlflowArtifactStore, run: Run, model: str
    ) -> None:
        number = mlflow.version(model, f"{run.artifact_uri}/model", run_id=run.id)
        uri = below(LAB, f"models/{model}/{number}")

        place = (await store.locate(uri)).uri

        assert run_uri(run, "model") == place
        assert b"none" == await read(store, below(place, "MLmodel"), ByteRange(9))
        assert [run_uri(run)] == [entry.uri for entry in await entries(store, place, page_size=1)]
        with pytest.raises(Changed):
            await entries(store, uri, page_size=1)

    async def test_of_artifacts_elsewhere(
        self, mlflow: Mlflow, store: MlflowArtifactStore, direct: Run, model: str
    ) -> None:
        number = mlflow.version(model, f"{direct.artifact_uri}/model", run_id=direct.id)

        place = await store.locate(below(LAB, f"models/{model}/{number}/MLmodel"))

        assert f"{direct.artifact_uri}/model/MLmodel" == str(place.uri)

    async def test_of_a_logged_model(
        self, mlflow: Mlflow, store: MlflowArtifactStore, model: str
    ) -> None:
        logged = mlflow.logged_model()
        mlflow.put(logged.artifact_uri, "sub/MLmodel", b"logged")
        number = mlflow.version(model, f"models:/{logged.id}", model_id=logged.id)

        for uri in (below(LAB, f"models/{logged.id}"), below(LAB, f"models/{model}/{number}")):
            place = await located(store, uri)
            assert below(LAB, f"models/{logged.id}") == place
            assert b"logged" == await read(store, below(place, "sub/MLmodel"))
            listed = await entries(store, below(place, "sub"), page_size=9)
            assert [(below(place, "sub/MLmodel"), 6)] == [(e.uri, e.size) for e in listed]

    @pytest.mark.parametrize("form", ["{model}/@prod", "{model}@prod"])
    async def test_by_its_alias(
        self, mlflow: Mlflow, store: MlflowArtifactStore, run: Run, model: str, form: str
    ) -> None:
        mlflow.version(model, "s3://elsewhere/x")
        number = mlflow.version(model, f"runs:/{run.id}/model", run_id=run.id)
        mlflow.post("registered-models/alias", name=model, alias="prod", version=number)

        uri = below(LAB, f"models/{form.format(model=model)}/MLmodel")

        assert run_uri(run) == await located(store, uri)

    @pytest.mark.parametrize("name", ["{}/99", "{}/@none", "{}/Production", "no-such/1", "no@such"])
    async def test_no_such_version(self, store: MlflowArtifactStore, model: str, name: str) -> None:
        with pytest.raises(NotFound):
            await store.locate(below(LAB, f"models/{name.format(model)}/x"))

    async def test_no_such_logged_model(self, store: MlflowArtifactStore) -> None:
        with pytest.raises(NotFound):
            await store.locate(below(LAB, f"models/m-{'0' * 32}/x"))


class TestDenied:
    """A run that the policy denies is read by no other name that MLflow has for it."""

    @pytest.mark.parametrize("source", ["runs:/{run.id}/model", "{run.artifact_uri}/model"])
    async def test_by_a_version(
        self, mlflow: Mlflow, store: MlflowArtifactStore, run: Run, model: str, source: str
    ) -> None:
        number = mlflow.version(model, source.format(run=run), run_id=run.id)
        tools = denying(store, below(LAB, f"runs/{run.id}"))

        for uri in (f"models:/{model}/{number}/MLmodel", f"models:/{model}/{number}"):
            with pytest.raises(PolicyDenied):
                await fetched(tools, uri)

        nothing = below(LAB, "runs/another")
        assert b"flavors: none" == await fetched(denying(store, nothing), uri)

    async def test_by_a_root_within_its_directory(
        self, mlflow: Mlflow, store: MlflowArtifactStore, run: Run
    ) -> None:
        """Whoever may make an experiment says where its artifacts are."""
        inner = mlflow.run(f"{run.artifact_uri}/model")
        mlflow.put(inner.artifact_uri, "pay.csv", b"secret")

        with pytest.raises(PolicyDenied):
            await fetched(denying(store, below(LAB, f"runs/{run.id}")), str(run_uri(inner)))

    async def test_a_logged_model(
        self, mlflow: Mlflow, store: MlflowArtifactStore, model: str
    ) -> None:
        logged = mlflow.logged_model()
        mlflow.put(logged.artifact_uri, "MLmodel", b"logged")
        number = mlflow.version(model, f"models:/{logged.id}", model_id=logged.id)

        with pytest.raises(PolicyDenied):
            await fetched(
                denying(store, below(LAB, f"models/{logged.id}")), f"models:/{model}/{number}"
            )


def denying(store: MlflowArtifactStore, denied: ArtifactUri) -> Tools:
    """Tools that read *store*, with a policy that allows all but what lies at *denied*."""

    def decide(asked: PolicyRequest) -> Decision:
        return Decision(asked.artifact is None or not asked.artifact.within(denied), 0, "a test")

    runs = PipelineRunners({}, directories=RunDirectories(Path("/nonexistent")))
    return Tools(ArtifactStores([(LAB, store)]), {}, runs, decide)


async def fetched(tools: Tools, uri: str) -> bytes:
    outputs = FETCH_ARTIFACT.run(FetchArtifact(uri=uri), tools, Ticket("j-1"))
    return b"".join([bytes(part.block) async for part in outputs if isinstance(part, Data)])


class TestServer:
    """How it is reached."""

    def test_it_is_a_catalog(self, store: MlflowArtifactStore) -> None:
        assert isinstance(store, Catalog)

    async def test_a_host_that_it_does_not_answer_to_is_said(
        self, mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As under the name of a service in Kubernetes, which leads there by way of a proxy."""
        monkeypatch.setenv("HTTP_PROXY", mlflow.endpoint_url)
        store = opened(mlflow_credentials("http://mlflow.mlops.svc:5000"))

        with pytest.raises(AccessDenied) as refusal:
            await store.check()

        assert "name it in its --allowed-hosts" in refusal.value.detail
        await store.close()

    async def test_a_connector_without_an_endpoint_is_said(self, mlflow: Mlflow) -> None:
        store = opened(replace(mlflow_credentials(mlflow.endpoint_url), endpoint_url=None))

        with pytest.raises(CredentialUnavailable) as failure:
            await store.check()

        assert "endpoint_url" in failure.value.detail
        await store.close()

    async def test_nothing_is_resumed(self, mlflow: Mlflow) -> None:
        """Two answers may be of two contents, and nothing in them would tell."""
        place = MlflowPlace(mlflow)
        uri = place.put("x", b"data")

        async with place.store.open(uri) as artifact:
            assert artifact.etag == ""
        with pytest.raises(Changed):
            await read(place.store, uri, etag="")
        await place.store.close()
