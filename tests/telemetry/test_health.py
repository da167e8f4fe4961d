import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator

import pytest

from agent.errors import UsageError
from agent.telemetry import metrics
from agent.telemetry.health import HealthServer, Heart
from tests.waiting import until


def _talk(address: tuple[str, int], request: bytes) -> str:
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while block := connection.recv(65536):
            answer += block
    return answer.decode()


def _get(address: tuple[str, int], path: str, *, method: str = "GET", headers: str = "") -> str:
    return _talk(address, f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())


class _Agent:
    """A health server whose readiness the test decides."""

    def __init__(self) -> None:
        self.ready = (True, "ready")
        self.heart = Heart(interval=0.01, stalled_after=0.3)
        self.health = HealthServer("127.0.0.1:0", heart=self.heart, ready=lambda: self.ready)

    async def get(self, path: str, **more: str) -> str:
        return await asyncio.to_thread(_get, self.health.address, path, **more)


@pytest.fixture(name="agent")
async def _agent() -> AsyncIterator[_Agent]:
    agent = _Agent()
    async with asyncio.TaskGroup() as tasks, agent.health:
        beating = tasks.create_task(agent.heart.run())
        yield agent
        beating.cancel()


class TestRoutes:
    async def test_a_beating_loop_is_alive(self, agent: _Agent) -> None:
        answer = await agent.get("/livez")

        assert answer.startswith("HTTP/1.1 200 OK\r\n")
        assert answer.endswith("\r\n\r\nalive\n")

    async def test_readiness_is_what_the_agent_says(self, agent: _Agent) -> None:
        agent.ready = (False, "draining")

        answer = await agent.get("/readyz")

        assert answer.startswith("HTTP/1.1 503 ")
        assert answer.endswith("\r\n\r\ndraining\n")

    async def test_metrics_are_plain_text_by_default(self, agent: _Agent) -> None:
        metrics.draining.set(0)

        answer = await agent.get("/metrics")

        assert "\r\nContent-Type: text/plain" in answer
        assert "\ncloud_agent_draining 0.0\n" in answer

    async def test_metrics_are_openmetrics_on_request(self, agent: _Agent) -> None:
        headers = "Accept: application/openmetrics-text; version=1.0.0\r\n"

        answer = await agent.get("/metrics", headers=headers)

        assert "\r\nContent-Type: application/openmetrics-text" in answer
        assert answer.endswith("# EOF\n")

    async def test_head_has_no_body(self, agent: _Agent) -> None:
        answer = await agent.get("/livez", method="HEAD")

        assert "\r\nContent-Length: 6\r\n" in answer
        assert answer.endswith("\r\n\r\n")

    async def test_the_server_header_tells_no_version(self, agent: _Agent) -> None:
        assert "\r\nServer: cloud-agent\r\n" in await agent.get("/livez")


class TestAttacks:
    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT"])
    async def test_no_method_can_change_anything(self, agent: _Agent, method: str) -> None:
        answer = await agent.get("/livez", method=method)

        assert answer.startswith("HTTP/1.1 405 ")
        assert "\r\nAllow: GET, HEAD\r\n" in answer

    @pytest.mark.parametrize("path", ["/", "/livez/", "/../livez", "//metrics", "/debug/pprof"])
    async def test_there_is_no_other_route(self, agent: _Agent, path: str) -> None:
        assert (await agent.get(path)).startswith("HTTP/1.1 404 ")

    @pytest.mark.parametrize(
        "request_", [b"\r\n\r\n", b"GET\r\n\r\n", b"GET / SPDY/9\r\n\r\n", b"\0\xff\r\n\r\n"]
    )
    async def test_garbage_is_a_bad_request(self, agent: _Agent, request_: bytes) -> None:
        answer = await asyncio.to_thread(_talk, agent.health.address, request_)

        assert answer.startswith("HTTP/1.1 400 ")

    async def test_an_oversized_header_is_refused(self, agent: _Agent) -> None:
        answer = await agent.get("/livez", headers=f"X: {'x' * 10_000}\r\n")

        assert answer.startswith("HTTP/1.1 431 ")

    async def test_dawdling_clients_keep_nobody_out(self, agent: _Agent) -> None:
        """200 connections that send half a request, and the answer still comes at once."""
        dawdlers = [socket.create_connection(agent.health.address) for _ in range(200)]
        for dawdler in dawdlers:
            dawdler.send(b"GET /livez HTTP/1.1\r\n")

        started = time.monotonic()
        answer = await agent.get("/livez")
        lasted = time.monotonic() - started

        for dawdler in dawdlers:
            dawdler.close()
        assert answer.startswith("HTTP/1.1 200 ")
        assert lasted < 2

    async def test_a_dawdling_client_is_hung_up_on(
        self, agent: _Agent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("agent.telemetry.health._REQUEST_TIMEOUT_S", 0.2)

        answer = await asyncio.to_thread(_talk_or_reset, agent.health.address, b"GET /livez")

        assert answer == ""


def _talk_or_reset(address: tuple[str, int], request: bytes) -> str:
    try:
        return _talk(address, request)
    except ConnectionResetError:
        return ""


class TestHeart:
    async def test_a_hung_loop_is_not_alive(self, agent: _Agent) -> None:
        """The loop is held up by code that never awaits, and /livez says so meanwhile."""
        seen: list[str] = []
        release = threading.Event()

        def watch() -> None:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline and not any(" 503 " in answer for answer in seen):
                seen.append(_get(agent.health.address, "/livez"))
            release.set()

        threading.Thread(target=watch).start()
        release.wait(20)

        assert seen[-1].startswith("HTTP/1.1 503 ")
        assert seen[-1].endswith("stalled\n")

    async def test_a_loop_that_goes_on_is_alive_again(self, agent: _Agent) -> None:
        agent.heart._last_beat -= 60

        await until(lambda: agent.heart.alive)


class TestListening:
    @pytest.mark.parametrize("listen", ["9464", "host:", ":9464", "127.0.0.1:99999", "127.0.0.1:x"])
    async def test_a_wrong_address_names_its_key(self, listen: str) -> None:
        with pytest.raises(UsageError, match=r"^telemetry\.listen: "):
            async with HealthServer(listen, heart=Heart(), ready=lambda: (True, "ready")):
                pass

    async def test_a_taken_port_names_its_key(self, agent: _Agent) -> None:
        host, port = agent.health.address

        with pytest.raises(UsageError, match=r"^telemetry\.listen: .*in use"):
            async with HealthServer(f"{host}:{port}", heart=Heart(), ready=lambda: (True, "")):
                pass

    async def test_it_listens_on_ipv6(self) -> None:
        async with HealthServer("[::1]:0", heart=Heart(), ready=lambda: (True, "ready")) as health:
            answer = await asyncio.to_thread(_get, health.address, "/readyz")

        assert answer.endswith("ready\n")

    async def test_nothing_listens_after_the_end(self) -> None:
        async with HealthServer("127.0.0.1:0", heart=Heart(), ready=lambda: (True, "")) as health:
            address = health.address

        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(_get, address, "/livez")
