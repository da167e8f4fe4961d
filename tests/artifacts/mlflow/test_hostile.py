"""The MLflow store and a tracking server that says anything: whoever logs a run may write it."""

import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agent.artifact_uri import ArtifactUri
from agent.artifacts.http.index import MOST_ENTRIES, MOST_VALUES
from agent.artifacts.mlflow.store import MlflowArtifactStore
from agent.artifacts.paging import Position
from agent.artifacts.stores import ArtifactStores
from agent.credentials import HttpCredentials
from agent.errors import (
    Changed,
    JobError,
    NotFound,
    PolicyDenied,
    StoreUnavailable,
    Unsupported,
)
from agent.guard.policy import Decision, PolicyRequest
from agent.jobs.fetch_artifact import FETCH_ARTIFACT, FetchArtifact
from agent.jobs.kind import Ticket, Tools
from agent.jobs.list_artifacts import LIST_ARTIFACTS, ListArtifacts
from agent.jobs.outputs import Data
from agent.pipelines.run_directories import RunDirectories
from agent.pipelines.runners import PipelineRunners
from agent.testing.artifact_stores import BLOCK, entries, read
from agent.testing.connectors import GivenConnector
from tests.doubles.http_service import http_service

URI = ArtifactUri.parse("mlflow://lab/runs/r1/model/x")
LEVEL = ArtifactUri.parse("mlflow://lab/runs/r1/model")
PROXIED = "mlflow-artifacts:/1/r1/artifacts"


@asynccontextmanager
async def saying(
    root: object = PROXIED, *, files: object = (), body: bytes | None = None, status: int = 200
) -> AsyncIterator[MlflowArtifactStore]:
    """Yield a store of a server that says *root* of every run, and *files* of every level.

    With *body* it says that of everything.
    """

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if body is not None:
            return web.Response(body=body, status=status)
        if request.path.endswith("/runs/get"):
            return web.json_response({"run": {"info": {"artifact_uri": root}}})
        if request.path.endswith("/get-download-uri"):
            return web.json_response({"artifact_uri": root})
        if request.path.endswith("/artifacts/list"):
            return web.json_response({"files": files})
        return web.Response(status=500)

    async with http_service(answer) as url:
        login = GivenConnector(HttpCredentials(None, url))
        lab = ArtifactUri.parse("mlflow://lab")
        store = MlflowArtifactStore("lab", lab, login, block_bytes=lambda: BLOCK)
        yield store
        await store.close()


class TestRoots:
    """Each is taken for what it says, and refused where it says more than a place."""

    @pytest.mark.parametrize(
        ("root", "located"),
        [
            ("s3://bucket/a/b/", "s3://bucket/a/b/model/x"),
            ("gs://bucket", "gs://bucket/model/x"),
            ("abfss://c@account.dfs.core.windows.net/a", None),
            (
                "wasbs://c@account.blob.core.windows.net/a",
                "abfss://c@account.dfs.core.windows.net/a/model/x",
            ),
            ("wasbs://evil.example/a", None),
            ("file:///srv/ml%20runs", "file:///srv/ml runs/model/x"),
            ("file:/srv/runs", "file:///srv/runs/model/x"),
            ("/srv/runs", "file:///srv/runs/model/x"),
            ("http://169.254.169.254/latest", "http://169.254.169.254/latest/model/x"),
            ("mlflow://lab/runs/r2", "mlflow://lab/runs/r2/model/x"),
            ("models://p@databricks/x", "models://p@databricks/x/model/x"),
            (PROXIED, str(URI)),
        ],
    )
    async def test_a_place(self, root: str, located: str | None) -> None:
        async with saying(root) as store:
            found = await store.locate(URI)

        assert (located or f"{root}/model/x") == str(found.uri)

    @pytest.mark.parametrize(
        "root",
        [
            "s3://bucket/a/../b", "s3://bucket/a//b", "s3:///a", "s3:/bucket/a", "s3://b/a\\b",
            "s3://bucket/a\nb", "s3://bucket/" + "a" * 5000, "file://host/srv", "file:relative",
            "file:///srv/%2e%2e/etc", "./mlruns", "../etc", "dbfs:/x", "not a uri", "/srv/../etc",
            "mlflow-artifacts:/../../x", "mlflow-artifacts:/1/./x", "mlflow-artifacts://evil/1",
            "mlflow-artifacts://127.0.0.1:1/x", "mlflow-artifacts:/1//x",
        ],
    )  # fmt: skip
    async def test_more_than_a_place(self, root: str) -> None:
        async with saying(root) as store:
            with pytest.raises(Unsupported):
                await store.locate(URI)
            with pytest.raises(Unsupported):
                await read(store, URI)

    @pytest.mark.parametrize(
        ("root", "located"),
        [
            ("runs:/r2/x", "mlflow://lab/runs/r2/x/model/x"),
            ("models:/m/1", "mlflow://lab/models/m/1/model/x"),
            ("runs:/r1/a%2Fb", "mlflow://lab/runs/r1/a%2Fb/model/x"),
        ],
    )
    async def test_a_reference_is_another_name(self, root: str, located: str) -> None:
        """For which somebody asks the policy, and then this store again."""
        async with saying(root) as store:
            assert located == str((await store.locate(URI)).uri)
            with pytest.raises(Changed):
                await read(store, URI)

    @pytest.mark.parametrize("root", ["runs:/r1/../x", "runs:/", "runs:/r1//x", "runs:/r1/a\nb"])
    async def test_a_reference_that_is_no_path(self, root: str) -> None:
        """What follows the run's id was written by who made the version."""
        async with saying(root) as store:
            with pytest.raises(Unsupported):
                await store.locate(URI)
            with pytest.raises(Unsupported):
                await read(store, URI)


MODEL = f"m-{'0' * 32}"
SECRET = "mlflow-artifacts:/0/secret/artifacts"
SECRET_MODEL = f"mlflow-artifacts:/0/models/m-{'1' * 32}/artifacts"
BODY = b"not for the cloud"


@asynccontextmanager
async def deceiving(root: str) -> AsyncIterator[tuple[Tools, list[str]]]:
    """Yield tools whose policy denies one run and one logged model, and the files handed out.

    The server says *root* of everything but these two, and hands out all that it is asked for.
    """
    own = {"secret": SECRET, f"m-{'1' * 32}": SECRET_MODEL}
    handed_out = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path.endswith("/runs/get"):
            text = own.get(request.query["run_id"], root)
            return web.json_response({"run": {"info": {"artifact_uri": text}}})
        if request.path.endswith("/get-download-uri"):
            return web.json_response({"artifact_uri": root})
        if "/artifacts" in request.path and not request.path.endswith("/files"):
            return web.json_response({"files": [{"path": "pay.csv", "file_size": 1}]})
        if request.path.startswith("/api/2.0/mlflow/logged-models/"):
            text = own.get(request.path.rpartition("/")[2], root)
            return web.json_response({"model": {"info": {"artifact_uri": text}}})
        handed_out.append(str(request.rel_url))
        return web.Response(body=BODY)

    def decide(asked: PolicyRequest) -> Decision:
        denied = ("mlflow://lab/runs/secret", f"mlflow://lab/models/m-{'1' * 32}")
        within = any(asked.artifact.within(ArtifactUri.parse(text)) for text in denied)
        return Decision(not within, 0, "a test")

    async with http_service(answer) as url:
        login = GivenConnector(HttpCredentials(None, url))
        lab = ArtifactUri.parse("mlflow://lab")
        store = MlflowArtifactStore("lab", lab, login, block_bytes=lambda: BLOCK)
        runs = PipelineRunners({}, directories=RunDirectories(Path("/nonexistent")))
        yield Tools(ArtifactStores([(lab, store)]), {}, runs, decide), handed_out
        await store.close()


NAMES = ["runs/r1", "models/churn/1", f"models/{MODEL}"]


class TestDenied:
    """What the policy denies by one name is not read by another one."""

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(
        ("root", "path"),
        [
            ("runs:/secret/model", "pay.csv"),
            ("runs:/secret", "pay.csv"),
            (f"models:/m-{'1' * 32}", "pay.csv"),
            (SECRET, "pay.csv"),
            (f"{SECRET}/", "pay.csv"),
            (f"{SECRET}/model", "pay.csv"),
            (f"{SECRET}/r1/artifacts", "pay.csv"),
            (f"{SECRET}/models/{MODEL}/artifacts", "pay.csv"),
            (SECRET_MODEL, "pay.csv"),
            ("mlflow-artifacts:/0", "secret/artifacts/pay.csv"),
            ("mlflow-artifacts:/0/secret", "artifacts/pay.csv"),
            ("mlflow-artifacts:/0/models", f"m-{'1' * 32}/artifacts/pay.csv"),
        ],
    )
    async def test_by_another_name(self, name: str, root: str, path: str) -> None:
        async with deceiving(root) as (tools, handed_out):
            with pytest.raises(PolicyDenied):
                await fetched(tools, f"mlflow://lab/{name}/{path}")
            with pytest.raises(PolicyDenied):
                await listed(tools, f"mlflow://lab/{name}/{path}".removesuffix("/pay.csv"))

            assert [] == handed_out

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(
        "root",
        [
            "mlflow-artifacts:/0", "mlflow-artifacts:/", "mlflow-artifacts:/0/secret",
            "mlflow-artifacts:/artifacts", "mlflow-artifacts:/0/secret%2Fartifacts",
            "mlflow-artifacts:/0/secret/artifacts?/r1/artifacts",
            "mlflow-artifacts:/0/secret/artifacts#/r1/artifacts",
            "mlflow-artifacts:/0/secret;/artifacts", "mlflow-artifacts:/1/secret/artifacts",
            "mlflow-artifacts:/0/%73ecret/artifacts",
        ],
    )  # fmt: skip
    async def test_proxied_artifacts_of_nobody(self, name: str, root: str) -> None:
        """Refused, since no name of theirs could be asked about."""
        async with deceiving(root) as (tools, handed_out):
            with pytest.raises(Unsupported):
                await fetched(tools, f"mlflow://lab/{name}/x")
            with pytest.raises(Unsupported):
                await listed(tools, f"mlflow://lab/{name}")

            assert [] == handed_out

    @pytest.mark.parametrize("root", ["runs:/r1/x", "models:/m/1", "runs:/r1"])
    async def test_references_without_an_end(self, root: str) -> None:
        async with deceiving(root) as (tools, _):
            with pytest.raises(NotFound):
                await fetched(tools, "mlflow://lab/runs/r1/x")

    async def test_a_run_by_its_id_in_other_letters(self) -> None:
        """Some databases take them for the same, and a policy does not."""
        info = {"run_id": "secret", "artifact_uri": "s3://bucket/secret"}

        async with saying(body=json.dumps({"run": {"info": info}}).encode()) as store:
            with pytest.raises(NotFound):
                await store.locate(ArtifactUri.parse("mlflow://lab/runs/SECRET/x"))

            place = await store.locate(ArtifactUri.parse("mlflow://lab/runs/secret/x"))
        assert str(place.uri) == "s3://bucket/secret/x"

    async def test_a_run_that_is_allowed(self) -> None:
        """It may be found by any name, and may have a directory that is called like all roots."""
        async with deceiving("mlflow-artifacts:/team/artifacts/r1/artifacts") as (
            tools,
            handed_out,
        ):
            for uri in ("runs/r1/a/artifacts/pay.csv", "models/churn/1/a/artifacts"):
                assert await fetched(tools, f"mlflow://lab/{uri}") == BODY

        assert ["/get-artifact?run_id=r1&path=a%2Fartifacts%2Fpay.csv"] * 2 == handed_out


async def fetched(tools: Tools, uri: str) -> bytes:
    outputs = FETCH_ARTIFACT.run(FetchArtifact(uri=uri), tools, Ticket("j-1"))
    return b"".join([bytes(part.block) async for part in outputs if isinstance(part, Data)])


async def listed(tools: Tools, uri: str) -> None:
    async for _ in LIST_ARTIFACTS.run(ListArtifacts(uri=uri), tools, Ticket("j-1")):
        pass


class TestAnswers:
    """Their shapes are checked, and their sizes bounded."""

    @pytest.mark.parametrize("root", [None, 7, "", [], {}])
    async def test_a_root_that_is_no_text(self, root: object) -> None:
        async with saying(root) as store:
            with pytest.raises(StoreUnavailable) as failure:
                await store.locate(URI)

        assert "look at endpoint_url" in failure.value.detail

    @pytest.mark.parametrize(
        ("body", "error"),
        [
            (b"<html>log in</html>", StoreUnavailable),
            (b"[]", StoreUnavailable),
            (b"\xff", StoreUnavailable),
            (b'{"run": []}', StoreUnavailable),
            (b"[" * 100_000, StoreUnavailable),
            (b" " * (16 * 1024 * 1024 + 1), Unsupported),
        ],
        ids=["html", "list", "bytes", "shape", "deep", "large"],
    )
    async def test_what_is_not_mlflows(self, body: bytes, error: type[JobError]) -> None:
        async with saying(body=body) as store:
            with pytest.raises(error):
                await store.locate(URI)

    @pytest.mark.parametrize("files", [7, {}, [7], [{}], [{"path": 7}], ["x"]])
    async def test_a_level_that_is_none(self, files: Any) -> None:
        async with saying(files=files) as store:
            with pytest.raises(StoreUnavailable):
                await store.list(LEVEL, page_size=1, page_token=None)

    async def test_names_stay_in_their_level(self) -> None:
        """Whatever path MLflow says, only its last name counts, and it has to be one."""
        paths = ["../../etc/passwd", "a/..", "x/", "s3://evil/y", "ok", "a\nb", ""]
        async with saying(files=[{"path": path, "file_size": -1} for path in paths]) as store:
            listed = await entries(store, LEVEL, page_size=10)

        assert [("ok", None), ("passwd", None), ("y", None)] == [
            (entry.uri.segments[-1], entry.size) for entry in listed
        ]
        assert all(entry.uri.segments[:-1] == LEVEL.segments for entry in listed)

    @pytest.mark.parametrize(
        "files",
        [[{"path": f"{at:x}"} for at in range(MOST_ENTRIES + 1)], [1] * (MOST_VALUES + 1)],
        ids=["entries", "values"],
    )
    async def test_a_level_has_an_end(self, files: Any) -> None:
        async with saying(files=files) as store:
            with pytest.raises(Unsupported, match="more than"):
                await store.list(LEVEL, page_size=1, page_token=None)

    async def test_the_loop_does_not_sort_a_level(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It would stand still for the time that this takes."""
        threads = []

        class Noted(Position):
            @property
            def order(self) -> str:
                threads.append(threading.current_thread())
                return super().order

        monkeypatch.setattr("agent.artifacts.http.index.Position", Noted)
        async with saying(files=[{"path": name} for name in "abc"]) as store:
            listed = await store.list(LEVEL, page_size=2, page_token=None)

        assert len(listed.entries) == 2
        assert threads
        assert threading.main_thread() not in threads

    async def test_a_failure_of_what_is_there_is_one(self) -> None:
        """MLflow answers 500 of what is not there; of what is listed it is a failure."""
        async with saying(files=[{"path": "model/x", "is_dir": False}]) as store:
            with pytest.raises(StoreUnavailable):
                await read(store, URI)
            with pytest.raises(NotFound):
                await read(store, ArtifactUri.parse(f"{LEVEL}/y"))
