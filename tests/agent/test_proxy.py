"""Proxies: which one the environment names for a host, as curl and Go would understand it."""

from __future__ import annotations

import pytest

from fleetward.agent.proxy import Proxy, ProxyFault, proxy_for

PROXY = {"HTTPS_PROXY": "http://proxy.example:3128"}


def test_without_a_variable_the_way_is_direct() -> None:
    assert proxy_for("https", "cp.example", 443, {}) is None
    assert proxy_for("https", "cp.example", 443, {"HTTP_PROXY": "http://proxy.example:3128"}) is None


def test_host_port_and_password_are_read() -> None:
    assert proxy_for("https", "cp.example", 443, PROXY) == Proxy("proxy.example", 3128, "")
    named = proxy_for("https", "cp.example", 443, {"https_proxy": "http://user:p%40ss@proxy.example"})
    assert named == Proxy("proxy.example", 80, "Basic dXNlcjpwQHNz")
    assert proxy_for("https", "cp.example", 443, {"HTTPS_PROXY": "proxy.example:8080"}) == Proxy(
        "proxy.example", 8080, ""
    )


@pytest.mark.parametrize(
    ("no_proxy", "is_direct"),
    [
        ("*", True),
        ("cp.example", True),
        (".example", True),
        ("*.example", True),
        ("example", True),
        ("xample", False),
        ("other.example, cp.example:8443", True),
        ("cp.example:443", False),
        ("10.0.0.0/8", False),
        ("", False),
    ],
)
def test_exceptions_are_names_domains_and_ports(no_proxy: str, is_direct: bool) -> None:
    assert (proxy_for("https", "cp.example", 8443, {**PROXY, "NO_PROXY": no_proxy}) is None) == is_direct


def test_exceptions_may_be_networks() -> None:
    assert proxy_for("https", "10.1.2.3", 8443, {**PROXY, "NO_PROXY": "10.0.0.0/8"}) is None
    assert proxy_for("https", "11.1.2.3", 8443, {**PROXY, "NO_PROXY": "10.0.0.0/8"}) is not None


def test_this_machine_is_never_reached_by_a_proxy() -> None:
    for host in ("localhost", "127.0.0.1", "::1"):
        assert proxy_for("https", host, 8443, PROXY) is None


@pytest.mark.parametrize("value", ["https://proxy.example:3128", "socks5://proxy.example", "http://proxy.example:x"])
def test_a_proxy_that_cannot_be_used_is_said_so(value: str) -> None:
    with pytest.raises(ProxyFault):
        proxy_for("https", "cp.example", 443, {"HTTPS_PROXY": value})
