"""`cloud-agent ready` and `live` against the agent's own health server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agent.errors import Exit
from agent.telemetry.health import HealthServer, Heart
from tests.cli.commands import cloud_agent
from tests.servers.processes import free_port


@asynccontextmanager
async def health(listen: str, *, ready: bool) -> AsyncIterator[str]:
    """Serve on *listen* and yield the URL."""
    answer = (ready, "ready" if ready else "draining")
    async with HealthServer(listen, heart=Heart(), ready=lambda: answer) as server:
        yield f"http://127.0.0.1:{server.address[1]}"


@pytest.mark.parametrize(("ready", "code"), [(True, Exit.DONE), (False, Exit.FAILED)])
async def test_ready_exits_as_the_agent_answers(ready, code):
    """And prints why."""
    async with health("127.0.0.1:0", ready=ready) as url:
        done = await asyncio.to_thread(cloud_agent, "ready", "--url", url)

    assert code == done.returncode
    assert ("ready" if ready else "draining") in done.stdout


async def test_a_draining_agent_is_live():
    """Or the platform would restart it in the middle of its jobs."""
    async with health("127.0.0.1:0", ready=False) as url:
        done = await asyncio.to_thread(cloud_agent, "live", "--url", url)

    assert Exit.DONE == done.returncode


async def test_the_address_comes_from_the_configuration_and_no_proxy_is_asked():
    """An agent that listens everywhere is asked on this host."""
    port = free_port()
    environ = {
        "CLOUD_AGENT__TELEMETRY__LISTEN": f"0.0.0.0:{port}",
        "HTTP_PROXY": "http://127.0.0.1:1",
    }
    async with health(f"0.0.0.0:{port}", ready=True):
        done = await asyncio.to_thread(cloud_agent, "ready", environ=environ)

    assert Exit.DONE == done.returncode


@pytest.mark.parametrize("verb", ["ready", "live"])
def test_no_answer_is_a_failure(verb):
    """With the reason, and without a traceback."""
    done = cloud_agent(verb, "--url", f"http://127.0.0.1:{free_port()}")

    assert Exit.FAILED == done.returncode
    assert "Connection refused" in done.stdout


def test_an_agent_that_listens_nowhere_cannot_be_asked():
    """Which is a matter of configuration."""
    done = cloud_agent("ready", environ={"CLOUD_AGENT__TELEMETRY__LISTEN": "null"})

    assert Exit.USAGE == done.returncode
