"""A control plane on a free port, a client of its REST interface, and an enrolled fake agent."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from control_plane_stub.server import ServeOptions, running
from tests.control_plane_stub.fake_agent import FakeAgent, Identity, enroll

DEADLINE = 10.0


class User:
    """Speaks REST with the token."""

    def __init__(self, base: str, session: aiohttp.ClientSession) -> None:
        self.base, self.session = base, session

    async def json(self, method: str, path: str, *, expect: int = 200, **how: Any) -> Any:
        async with self.session.request(method, f"/api/v1{path}", **how) as response:
            body = await response.json()
            assert response.status == expect, body
            return body

    async def submit(self, **body: Any) -> str:
        wanted = {"agent": "prod-eu", "kind": "fetch-artifact"} | body
        return str((await self.json("POST", "/jobs", json=wanted, expect=202))["id"])

    async def job(self, job: str) -> Any:
        return await self.json("GET", f"/jobs/{job}")

    async def until(self, job: str, fits: Callable[[Any], bool]) -> Any:
        """Poll *job* until it fits."""
        async with asyncio.timeout(DEADLINE):
            while not fits(view := await self.job(job)):
                await asyncio.sleep(0.01)
            return view

    async def ended(self, job: str) -> Any:
        return await self.until(job, lambda view: view["ended_at"] is not None)

    async def enrolled(self, identity: Identity) -> Identity:
        body = {"agent": identity.agent, "ttl": 60}
        token = await self.json("POST", "/join-tokens", json=body, expect=201)
        await enroll(self.base, identity, token["join_token"])
        return identity


@asynccontextmanager
async def plane_in(state_dir: Path, **options: Any) -> AsyncIterator[User]:
    """Run a control plane with *state_dir* for the time of the block."""
    options = {"listen_port": 0, **options}
    async with running(ServeOptions(state_dir=state_dir, **options)) as base:
        token = (state_dir / "api-token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(base, headers=headers) as session:
            yield User(base, session)


@pytest.fixture
async def user(tmp_path: Path) -> AsyncIterator[User]:
    async with plane_in(tmp_path / "state") as user:
        yield user


@pytest.fixture
async def agent(user: User) -> AsyncIterator[FakeAgent]:
    identity = await user.enrolled(Identity())
    async with FakeAgent(user.base, identity).connected() as agent:
        yield agent
