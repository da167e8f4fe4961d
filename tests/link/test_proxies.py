"""Through real proxies that demand a password; none of them ever sees the proof in the clear."""

import pytest

from agent.link.dial import DialFailed, Endpoint, dial, hang_up
from tests.doubles.scripted_control_plane import running, server_tls
from tests.link.agents import connecting
from tests.servers.processes import free_port
from tests.servers.proxies import PASSWORD, microsocks, squid, tinyproxy
from tests.waiting import until

pytestmark = pytest.mark.proxy

KINDS = [squid, tinyproxy, microsocks]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__, scope="module")
def proxy(request):
    with request.param() as running_proxy:
        yield running_proxy


async def refusal(url: str, proxy_url: str | None) -> DialFailed:
    """Dial, and return what the person is told."""
    with pytest.raises(DialFailed) as failed:
        await dial(Endpoint(url, proxy=proxy_url), {}, version="1")
    assert PASSWORD not in f"{failed.value} {failed.value!r} {failed.value.__cause__}"
    return failed.value


async def test_a_link_goes_through_a_proxy_with_a_password(proxy, identity, certificate_authority):
    """With TLS from end to end: the proxy only learns host and port."""
    tls = server_tls(certificate_authority.issue("plane"))

    async with running(tls=tls) as plane:
        endpoint = Endpoint(plane.url, ca_file=certificate_authority.ca_file, proxy=proxy.url())
        async with connecting(endpoint, identity) as agent:
            await agent.up()
        await until(lambda: proxy.asked_for(plane.port))

    assert PASSWORD not in repr(endpoint)
    assert "Proxy-Authorization" not in plane.requests[0].headers
    assert plane.requests[0].headers["Authorization"].split()[1] not in proxy.access_log.read_text()


async def test_a_wrong_password_names_the_setting(proxy):
    """And shows neither the right nor the wrong one."""
    failed = await refusal(f"ws://127.0.0.1:{free_port()}/x", proxy.url(password="hunter-2"))

    assert failed.outcome == "proxy"
    assert "control_plane.proxy" in str(failed)
    assert "hunter-2" not in str(failed)


async def test_a_target_that_is_down_is_not_blamed_on_us(proxy):
    """The proxy works; what is behind it does not."""
    failed = await refusal(f"ws://127.0.0.1:{free_port()}/x", proxy.url())

    assert failed.outcome in {"proxy", "unreachable"}
    assert "control plane" in str(failed)
    assert "password" not in str(failed)


async def test_the_environment_names_a_proxy_too(proxy, identity, monkeypatch):
    """Where the configuration names none."""
    monkeypatch.setenv("HTTPS_PROXY", proxy.url())

    async with running() as plane, connecting(plane.url, identity) as agent:
        await agent.up()
    await until(lambda: proxy.asked_for(plane.port))


async def test_no_proxy_wins_over_the_environment(proxy, identity, monkeypatch):
    """The control plane may be inside."""
    monkeypatch.setenv("HTTPS_PROXY", proxy.url())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    async with running() as plane, connecting(plane.url, identity) as agent:
        await agent.up()
        await until(lambda: agent.link.up)

    assert not proxy.asked_for(plane.port)


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_proxy_that_is_down_is_named(scheme):
    """Or somebody looks for the fault at the control plane."""
    port = free_port()
    failed = await refusal(
        "ws://control-plane.invalid/x", f"{scheme}://walter:{PASSWORD}@127.0.0.1:{port}"
    )

    assert failed.outcome == "proxy"
    assert "control_plane.proxy" in str(failed)


@pytest.mark.parametrize(
    "proxy_url",
    [
        f"ftp://walter:{PASSWORD}@127.0.0.1:1",
        f"http://walter:{PASSWORD}@127.0.0.1:1/path",
        "http://walter@127.0.0.1:1",
        f"http://walter:{PASSWORD}",
        f"http://walter:{PASSWORD}/@127.0.0.1:1",
        f"http://walter:{PASSWORD}@127.0.0.1:99999",
        f"http://walter:%ff{PASSWORD}@127.0.0.1:1",
        "no-url",
    ],
)
async def test_a_proxy_address_that_is_none_is_named(proxy_url, monkeypatch):
    """Also that of the environment, which nobody has checked at the start."""
    monkeypatch.setenv("HTTPS_PROXY", proxy_url)
    failed = await refusal("ws://127.0.0.1:9/x", None)

    assert failed.outcome == "proxy"
    assert "proxy" in str(failed)


async def test_the_proxys_own_name_is_looked_up_and_named():
    failed = await refusal("ws://127.0.0.1:9/x", f"http://walter:{PASSWORD}@proxy.invalid:1")

    assert failed.outcome == "proxy"
    assert "control_plane.proxy" in str(failed)


async def test_a_name_is_looked_up_at_the_proxys_end():
    """With `socks5h`, the inside need not know the outside's names."""
    async with running() as plane:
        with microsocks() as proxy:
            endpoint = Endpoint(plane.url_at("localhost"), proxy=proxy.url())
            connection = await dial(endpoint, {}, version="1")
            await hang_up(connection)

            await until(lambda: "localhost" in proxy.access_log.read_text())
