"""Which artifact a job names, and that a catalog leads nowhere the policy does not allow."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import ValidationError

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import ArtifactStore
from agent.artifacts.file import FileArtifactStore
from agent.artifacts.http.store import HttpArtifactStore
from agent.artifacts.stores import ArtifactStores
from agent.credentials import HttpCredentials
from agent.errors import BadParameters, NotFound, PolicyDenied, TooLarge, Unsupported
from agent.guard.policy import Decision, PolicyRequest
from agent.jobs.fetch_artifact import FETCH_ARTIFACT, FetchArtifact, artifact_of
from agent.jobs.kind import Ticket, Tools
from agent.jobs.outputs import Data
from agent.pipelines.run_directories import RunDirectories
from agent.pipelines.runners import PipelineRunners
from agent.secret import Secret
from agent.testing.connectors import GivenConnector
from tests.doubles.catalog import GivenCatalog
from tests.doubles.http_service import http_service

RUN = "b1946ac92492d2347c6235b4d2611184"
VERSION = "00000000-0000-4000-8000-000000000001"


def tools_of(
    directory: Path,
    places: dict[str, str],
    *,
    max_bytes: int | None = None,
    beside: Sequence[tuple[ArtifactUri, ArtifactStore]] = (),
) -> Tools:
    """Tools with the catalogs ``mlflow://ml`` and ``zenml://prod``, and files that are allowed.

    *beside* are more stores.
    """
    files = ArtifactUri.parse(f"file://{directory}")
    stores = [(files, FileArtifactStore("files", files, block_bytes=lambda: 65536)), *beside]
    for text in ("mlflow://ml", "zenml://prod"):
        root = ArtifactUri.parse(text)
        stores.append((root, GivenCatalog(root, places)))

    def decide(asked: PolicyRequest) -> Decision:
        allowed = "/secret/" not in str(asked.artifact)
        return Decision(allowed, 0, "a test", max_bytes)

    runs = PipelineRunners({}, directories=RunDirectories(directory / "runs"))
    return Tools(ArtifactStores(stores), {}, runs, decide)


async def fetched(tools: Tools, **params: str) -> bytes:
    outputs = FETCH_ARTIFACT.run(FetchArtifact(**params), tools, Ticket("j-1"))
    blocks = [bytes(output.block) async for output in outputs if isinstance(output, Data)]
    return b"".join(blocks)


@pytest.mark.parametrize(
    ("params", "uri"),
    [
        ({"uri": "s3://ml/x"}, "s3://ml/x"),
        ({"uri": f"runs:/{RUN}/model/weights"}, f"mlflow://ml/runs/{RUN}/model/weights"),
        ({"uri": "models:/churn/3/MLmodel"}, "mlflow://ml/models/churn/3/MLmodel"),
        ({"mlflow_run": RUN, "path": "model/"}, f"mlflow://ml/runs/{RUN}/model"),
        ({"mlflow_run": RUN}, f"mlflow://ml/runs/{RUN}"),
        ({"zenml_artifact_version": VERSION, "path": "a.csv"}, f"zenml://prod/{VERSION}/a.csv"),
    ],
)
def test_every_way_to_name_an_artifact_is_a_uri(tmp_path, params, uri):
    assert uri == str(artifact_of(FetchArtifact(**params), tools_of(tmp_path, {})))


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"uri": "s3://ml/x", "mlflow_run": RUN},
        {"uri": "s3://ml/x", "path": "y"},
        {"mlflow_run": "../other"},
        {"mlflow_run": RUN, "zenml_artifact_version": VERSION},
        {"zenml_artifact_version": "1"},
    ],
)
def test_an_artifact_is_named_in_exactly_one_way(params):
    with pytest.raises(ValidationError):
        FetchArtifact(**params)


@pytest.mark.parametrize("path", ["..", "../x", "a/../../x", "a//b", "./a"])
def test_a_path_does_not_climb(tmp_path, path):
    with pytest.raises(BadParameters):
        artifact_of(FetchArtifact(mlflow_run=RUN, path=path), tools_of(tmp_path, {}))


def test_an_id_needs_exactly_one_server(tmp_path):
    root = ArtifactUri.parse("mlflow://other")
    tools = tools_of(tmp_path, {})
    two = ArtifactStores([*tools.artifacts._rooted, (root, GivenCatalog(root, {}))])

    with pytest.raises(Unsupported, match="more than one store of mlflow://"):
        artifact_of(FetchArtifact(mlflow_run=RUN), Tools(two, {}, tools.pipelines, tools.decide))
    nothing = Tools(ArtifactStores([]), {}, tools.pipelines, tools.decide)
    with pytest.raises(Unsupported, match="no store of zenml://"):
        artifact_of(FetchArtifact(zenml_artifact_version=VERSION), nothing)


async def test_the_bytes_come_from_where_the_catalog_says(tmp_path):
    (tmp_path / "model").write_bytes(b"weights")
    tools = tools_of(tmp_path, {f"runs/{RUN}/model": f"file://{tmp_path}/model"})

    assert b"weights" == await fetched(tools, mlflow_run=RUN, path="model")


@pytest.mark.parametrize("place", ["file://{}/secret/key", "file:///etc/hostname", "s3://pii/x"])
async def test_a_catalog_leads_only_where_the_policy_allows(tmp_path, place):
    """Denied by a rule, and outside of every store: one answer, that tells neither."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_bytes(b"not for the cloud")
    tools = tools_of(tmp_path, {f"runs/{RUN}/model": place.format(tmp_path)})

    with pytest.raises(PolicyDenied) as denied:
        await fetched(tools, mlflow_run=RUN, path="model")

    assert str(denied.value) == PolicyDenied.default


async def test_the_limit_of_the_real_place_holds(tmp_path):
    (tmp_path / "model").write_bytes(b"weights")
    places = {f"runs/{RUN}/model": f"file://{tmp_path}/model"}

    with pytest.raises(TooLarge):
        await fetched(tools_of(tmp_path, places, max_bytes=6), mlflow_run=RUN, path="model")


async def test_what_the_catalog_does_not_know_is_not_found(tmp_path):
    with pytest.raises(NotFound):
        await fetched(tools_of(tmp_path, {}), mlflow_run=RUN)


@pytest.mark.parametrize("files", [["data.json"], ["data.json", "preview.html"], ["preview.html"]])
async def test_a_version_with_one_file_of_its_own_is_that_file(tmp_path, files):
    (tmp_path / "out").mkdir()
    for name in files:
        (tmp_path / "out" / name).write_text(name)
    tools = tools_of(tmp_path, {VERSION: f"file://{tmp_path}/out"})

    assert files[0].encode() == await fetched(tools, zenml_artifact_version=VERSION)


async def test_of_several_files_one_has_to_be_named(tmp_path):
    (tmp_path / "out").mkdir()
    for name in ("a.json", "b.json"):
        (tmp_path / "out" / name).write_text(name)
    tools = tools_of(tmp_path, {VERSION: f"file://{tmp_path}/out"})

    with pytest.raises(BadParameters, match="more than one file"):
        await fetched(tools, zenml_artifact_version=VERSION)


async def test_the_policy_is_asked_about_that_file_too(tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("not for the cloud")
    tools = tools_of(tmp_path, {VERSION: f"file://{tmp_path}/secret"})

    with pytest.raises(PolicyDenied):
        await fetched(tools, zenml_artifact_version=VERSION)


@pytest.mark.parametrize("status", [403, 200])
async def test_a_file_is_fetched_where_nothing_can_be_listed(tmp_path, status):
    """As with an S3 key without ListBucket, and a web server without an index; no credential is
    dropped for it."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path.endswith("/"):
            return web.Response(status=status)
        return web.Response(body=b"weights")

    async with http_service(answer) as url:
        root = ArtifactUri.parse(url)
        login = GivenConnector(HttpCredentials(Secret("Bearer of-a-test")))
        store = HttpArtifactStore("web", root, login, block_bytes=lambda: 65536)
        tools = tools_of(tmp_path, {VERSION: f"{url}/model"}, beside=[(root, store)])

        assert b"weights" == await fetched(tools, zenml_artifact_version=VERSION)
        assert [] == login.invalidated
        await store.close()


async def test_what_neither_can_be_opened_nor_listed_is_not_found(tmp_path):
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=200 if request.path.endswith("/") else 404)

    async with http_service(answer) as url:
        root = ArtifactUri.parse(url)
        login = GivenConnector(HttpCredentials(None))
        store = HttpArtifactStore("web", root, login, block_bytes=lambda: 65536)
        tools = tools_of(tmp_path, {VERSION: f"{url}/model"}, beside=[(root, store)])

        with pytest.raises(NotFound):
            await fetched(tools, zenml_artifact_version=VERSION)
        await store.close()


async def test_a_catalog_that_leads_to_itself_is_followed_with_the_policy(tmp_path):
    """Each step is asked about, and allowed bytes at its end do not make up for it."""
    (tmp_path / "model").write_bytes(b"weights")
    places = {
        "runs/a/model": f"mlflow://ml/runs/{RUN}/model",
        "runs/b/model": "mlflow://ml/secret/model",
        f"runs/{RUN}/model": f"file://{tmp_path}/model",
        "secret/model": f"file://{tmp_path}/model",
    }
    tools = tools_of(tmp_path, places)

    assert b"weights" == await fetched(tools, uri="runs:/a/model")
    with pytest.raises(PolicyDenied):
        await fetched(tools, uri="runs:/b/model")


async def test_catalogs_that_lead_in_a_circle_are_left(tmp_path):
    places = {
        "runs/a/model": "mlflow://ml/runs/b/model",
        "runs/b/model": "mlflow://ml/runs/a/model",
    }

    with pytest.raises(NotFound):
        await fetched(tools_of(tmp_path, places), uri="runs:/a/model")
