"""An nginx that asks for a token, and a directory of its own for each test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.artifacts.http.places import TOKEN, HttpPlace
from tests.servers.nginx import nginx

ASK_FOR_TOKEN = f'if ($http_authorization != "{TOKEN}") {{ return 401; }}'


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of an nginx without indexes, and the directory that it shows."""
    root, own = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("nginx")
    with nginx(root, own, more=ASK_FOR_TOKEN) as origin:
        yield origin.port, root


@pytest.fixture
async def place(served: tuple[int, Path]) -> AsyncIterator[HttpPlace]:
    place = HttpPlace(f"http://127.0.0.1:{served[0]}", served[1])
    yield place
    await place.store.close()
