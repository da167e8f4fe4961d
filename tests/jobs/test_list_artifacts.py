"""Listings of long names fit into a message, page by page, and lose nothing."""

from pathlib import Path

from agent.artifact_uri import ArtifactUri
from agent.artifacts.file import FileArtifactStore
from agent.artifacts.stores import ArtifactStores
from agent.guard.policy import Decision
from agent.jobs.kind import Ticket, Tools
from agent.jobs.list_artifacts import LIST_ARTIFACTS, LONGEST_PAGE, ListArtifacts
from agent.jobs.outputs import Result
from agent.pipelines.run_directories import RunDirectories
from agent.pipelines.runners import PipelineRunners


def tools_for(directory: Path) -> Tools:
    root = ArtifactUri.parse(f"file://{directory}")
    store = FileArtifactStore("local", root, block_bytes=65536)
    runs = PipelineRunners({}, directories=RunDirectories(directory / "runs"))
    return Tools(ArtifactStores([(root, store)]), {}, runs, lambda _: Decision(True, 0, "yes"))


async def listed(tools: Tools, uri: str, token: str | None) -> Result:
    params = ListArtifacts(uri=uri, page_size=1000, page_token=token)
    [result] = [output async for output in LIST_ARTIFACTS.run(params, tools, Ticket("j"))]
    assert isinstance(result, Result)
    return result


async def test_long_names_make_shorter_pages(tmp_path: Path):
    """A thousand names of 200 characters in a long directory would not fit into one message."""
    deep = tmp_path / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    names = {f"{n:04}-{'x' * 200}" for n in range(1000)}
    for name in names:
        (deep / name).touch()
    tools, token, found, pages = tools_for(tmp_path), None, set(), 0

    while pages == 0 or token:
        value = (await listed(tools, f"file://{deep}", token)).value
        uris = [entry["uri"] for entry in value["entries"]]
        assert sum(map(len, uris)) <= LONGEST_PAGE
        found |= {uri.rsplit("/", 1)[1] for uri in uris}
        token, pages = value["next_page_token"], pages + 1

    assert names == found
    assert pages > 1
