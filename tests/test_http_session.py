"""What our session keeps to itself, and what it never keeps."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from agent.errors import StoreUnavailable
from agent.http_session import HttpSession, KeptSession
from tests.doubles.http_service import http_service


async def test_no_cookie_of_one_identity_goes_along_with_the_next() -> None:
    """Whoever's credentials are rotated is somebody else, and must not be logged in as before."""
    seen = []

    async def log_in(request: web.BaseRequest) -> web.Response:
        seen.append((request.headers.get("Authorization"), request.headers.get("Cookie")))
        return web.Response(headers={"Set-Cookie": "session=login-of-the-first; Path=/"})

    def as_both(url: str) -> None:
        with HttpSession() as session:
            for header in ("Bearer first", "Bearer second"):
                session.get(url, headers={"Authorization": header})

    async with http_service(log_in) as url:
        await asyncio.to_thread(as_both, url)

    assert [("Bearer first", None), ("Bearer second", None)] == seen


def test_a_ca_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable) as failure:
        KeptSession().get(tmp_path / "no-ca.pem")

    assert f"{tmp_path / 'no-ca.pem'}: No such file or directory" == failure.value.detail


def test_a_ca_that_is_there_by_now_is_taken(tmp_path: Path, certificate_authority) -> None:
    kept, ca_file = KeptSession(), tmp_path / "ca.pem"
    with pytest.raises(StoreUnavailable):
        kept.get(ca_file)

    ca_file.write_bytes(certificate_authority.ca_file.read_bytes())

    assert isinstance(kept.get(ca_file), HttpSession)
    kept.close()


async def test_threads_that_ask_together_share_one_session() -> None:
    kept = KeptSession()

    sessions = await asyncio.gather(*(asyncio.to_thread(kept.get, None) for _ in range(16)))

    assert 1 == len(set(map(id, sessions)))
    kept.close()
