"""Which way to the control plane the check takes."""

from agent.preflight.route import dns_row, proxy_row, route_to
from agent.preflight.rows import Status
from tests.preflight.origin import control_plane


def test_the_proxy_that_applies_is_shown_without_its_password(monkeypatch):
    """The setting before the environment, and NO_PROXY before both of its kind."""
    monkeypatch.setenv("HTTPS_PROXY", "http://walter:hunter2@env-proxy:3128")
    monkeypatch.setenv("NO_PROXY", "direct.example.com")
    configured = control_plane(443, host="cloud.example.com", proxy="socks5h://u:hunter2@p:1080")

    rows = [
        proxy_row(route_to(configured)),
        proxy_row(route_to(control_plane(443, host="cloud.example.com"))),
        proxy_row(route_to(control_plane(443, host="direct.example.com"))),
    ]

    assert [
        "socks5h://***@p:1080 (from control_plane.proxy)",
        "http://***@env-proxy:3128 (from the environment)",
        "none: the control plane is dialled directly",
    ] == [row.found for row in rows]
    assert "hunter2" not in repr(route_to(configured))


async def test_a_name_that_does_not_resolve_fails():
    """The reserved top level domain has no names."""
    known = await dns_row(route_to(control_plane(443, host="localhost")))
    unknown = await dns_row(route_to(control_plane(443, host="cloud.invalid")))

    assert (Status.PASS, Status.FAIL) == (known.status, unknown.status)
    assert "cloud.invalid" in unknown.found
