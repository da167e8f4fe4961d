"""Listings of long names fit into a message, page by page, and lose nothing."""

import base64
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


def tools_for(directory: Path, *, hidden: str = "nothing") -> Tools:
    root = ArtifactUri.parse(f"file://{directory}")
    store = FileArtifactStore("local", root, block_bytes=lambda: 65536)
    runs = PipelineRunners({}, directories=RunDirectories(directory / "runs"))
    return Tools(
        ArtifactStores([(root, store)]),
        {},
        runs,
        lambda asked: Decision(hidden not in str(asked.artifact), 0, "so"),
    )


async def listed(tools: Tools, uri: str, token: str | None, page_size: int = 1000) -> Result:
    params = ListArtifacts(uri=uri, page_size=page_size, page_token=token)
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


async def test_no_token_tells_the_name_of_what_is_hidden(tmp_path: Path):
    """A token holds a name, so it is made of shown entries only; every one of them is reached."""
    for name in ("a-secret", "b", "c-secret", "d-secret", "e", "f-secret"):
        (tmp_path / name).touch()
    tools, token, found, tokens = tools_for(tmp_path, hidden="secret"), None, [], []

    while not found or token:
        value = (await listed(tools, f"file://{tmp_path}", token, page_size=1)).value
        found += [entry["uri"].rsplit("/", 1)[1] for entry in value["entries"]]
        token = value["next_page_token"]
        tokens += [token] if token else []

    assert ["b", "e"] == found
    assert not any(b"secret" in base64.urlsafe_b64decode(token) for token in tokens)
