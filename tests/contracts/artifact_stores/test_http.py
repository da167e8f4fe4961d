"""Real web servers: nginx, with JSON and with HTML as its index, and that of Python."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.testing.artifact_stores import ArtifactStoreContract, Place
from tests.artifacts.http.places import TOKEN, HttpPlace, StoreThatIsDown
from tests.servers.files_by_http import python_file_server
from tests.servers.nginx import nginx

NGINX = f"""
types {{ text/csv csv; }}
autoindex on;
autoindex_format %s;
if ($http_authorization != "{TOKEN}") {{ return 401; }}
"""


class WebServer(StoreThatIsDown, ArtifactStoreContract):
    """Derive from it, with a fixture *served* that yields a URL and the directory behind it."""

    @pytest.fixture
    async def place(self, served: tuple[str, Path]) -> AsyncIterator[Place]:
        place = HttpPlace(*served)
        yield place
        await place.store.close()


class Nginx(WebServer):
    @pytest.fixture(autouse=True)
    def _listed(self, request: pytest.FixtureRequest) -> None:
        name = getattr(request.node, "callspec", None) and request.node.callspec.params.get("name")
        if name and name.startswith("."):
            pytest.skip("nginx leaves names that begin with a dot out of its index")


class TestNginxJson(Nginx):
    @pytest.fixture
    def served(self, nginx_json: tuple[str, Path]) -> tuple[str, Path]:
        return nginx_json


class TestNginxHtml(Nginx):
    lists_sizes = lists_times = False

    @pytest.fixture
    def served(self, nginx_html: tuple[str, Path]) -> tuple[str, Path]:
        return nginx_html


class TestPython(WebServer):
    """It knows no ranges: what lies before one is read and dropped."""

    lists_sizes = lists_times = False

    @pytest.fixture
    def served(self, python: tuple[str, Path]) -> tuple[str, Path]:
        return python


@pytest.fixture(scope="module")
def nginx_json(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    root, own = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("nginx")
    with nginx(root, own, more=NGINX % "json") as origin:
        yield origin.url, root


@pytest.fixture(scope="module")
def nginx_html(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    root, own = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("nginx")
    with nginx(root, own, more=NGINX % "html") as origin:
        yield origin.url, root


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    root = tmp_path_factory.mktemp("root")
    with python_file_server(root, authorization=TOKEN) as url:
        yield url, root
