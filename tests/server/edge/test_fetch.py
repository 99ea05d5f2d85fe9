"""Fetching: public https only, one address, few redirects, bounded in bytes and time; never this server itself."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Iterator

import pytest

from fleetward.server.edge import fetch
from fleetward.server.edge.fetch import Fetcher
from fleetward.server.effects import Failed
from tests.identity_provider import HttpsServer, authority
from tests.oidc_provider import SignInProvider

LOOPBACK = ("127.0.0.0/8", "::1/128")


@pytest.fixture
def site() -> Iterator[HttpsServer]:
    """An https server on loopback."""
    made = HttpsServer()
    yield made
    made.close()


def got(url: str, *, allow: tuple[str, ...] = LOOPBACK, own: tuple[int, ...] = (), most: int = 1000,
        seconds: float = 5.0, ca: str | None = None) -> bytes | Failed:  # fmt: skip
    """What fetching comes to."""
    fetcher = Fetcher(allow, str(authority().ca) if ca is None else ca, lambda: own)
    return asyncio.run(fetcher.fetch(url, most, seconds))


def reason(outcome: bytes | Failed) -> str:
    """Why it failed."""
    assert isinstance(outcome, Failed), outcome
    return outcome.reason


def test_a_body_is_fetched(site: HttpsServer) -> None:
    site.says("/a?b=c", b"hello")
    assert got(f"https://{site.host}/a?b=c") == b"hello"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused_unless_allowed(address: str) -> None:
    parsed = ipaddress.ip_address(address)
    assert not fetch.allowed(parsed, ())
    plain = fetch.plain_address(parsed)
    assert fetch.allowed(parsed, (ipaddress.ip_network(plain),))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"])
def test_public_addresses_are_fine(address: str) -> None:
    assert fetch.allowed(ipaddress.ip_address(address), ())


def test_loopback_is_asked_only_where_it_is_allowed(site: HttpsServer) -> None:
    site.says("/", b"secret")
    for host in (site.host, site.host.replace("127.0.0.1", "localhost"), site.host.replace("127.0.0.1", "127.1")):
        assert "allow_fetch" in reason(got(f"https://{host}/", allow=()))
    assert site.asked == []


def test_the_server_itself_is_never_asked(site: HttpsServer) -> None:
    port = int(site.host.rpartition(":")[2])
    assert "this server itself" in reason(got(f"https://{site.host}/", own=(port,)))
    assert site.asked == []


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "file:///etc/passwd", "ftp://127.0.0.1/", "https://", "https://a b/", "https://u:p@127.0.0.1/",
     "https://127.0.0.1:0/", "https://127.0.0.1:99999/", "https://127.0.0.1/\r\nX: y", "https://[::1", "x" * 5000],
)  # fmt: skip
def test_other_urls_are_refused(url: str) -> None:
    assert reason(got(url))


def test_three_redirects_are_followed_and_each_is_checked(site: HttpsServer) -> None:
    site.says("/end", b"there")
    for number in range(4):
        target = f"/{number - 1}" if number else "/end"
        site.says(f"/{number}", b"", 302, Location=target)
    assert got(f"https://{site.host}/2") == b"there"
    assert "3 redirects" in reason(got(f"https://{site.host}/3"))
    site.says("/out", b"", 302, Location="https://169.254.169.254/latest/meta-data/")
    assert "allow_fetch" in reason(got(f"https://{site.host}/out"))
    site.says("/plain", b"", 302, Location=f"http://{site.host}/end")
    assert "https" in reason(got(f"https://{site.host}/plain"))


def test_large_answers_and_other_statuses_are_refused(site: HttpsServer) -> None:
    site.says("/large", b"x" * 1001)
    assert "1000 bytes" in reason(got(f"https://{site.host}/large"))
    site.says("/head", b"x", X_Large="y" * 40_000)
    assert "too large" in reason(got(f"https://{site.host}/head"))
    assert "HTTP 404" in reason(got(f"https://{site.host}/none"))


def test_who_says_nothing_is_left_after_a_while() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        since = time.monotonic()
        outcome = got(f"https://127.0.0.1:{silent.getsockname()[1]}/", seconds=0.2)
        assert "within 0.2 seconds" in reason(outcome)
        assert time.monotonic() - since < 2


def test_certificates_of_strangers_are_refused(site: HttpsServer) -> None:
    site.says("/", b"hello")
    assert "not trusted" in reason(got(f"https://{site.host}/", ca=""))


def test_nobody_listening_is_a_failure_without_details(site: HttpsServer) -> None:
    host = site.host
    site.close()
    assert reason(got(f"https://{host}/")).startswith("no usable answer")


def posted(url: str, form: str = "a=b", *, allow: tuple[str, ...] = LOOPBACK, seconds: float = 5.0) -> bytes | Failed:
    """What posting comes to."""
    fetcher = Fetcher(allow, str(authority().ca))
    return asyncio.run(fetcher.post(url, form, "Basic c2VjcmV0", 1000, seconds))


def test_a_form_is_posted_under_the_same_rules_and_follows_no_redirect() -> None:
    provider = SignInProvider()
    provider.reset()
    assert "HTTP 401" in reason(posted(f"{provider.issuer}/token"))
    assert "allow_fetch" in reason(posted(f"{provider.issuer}/token", allow=()))
    assert "https" in reason(posted(f"http://{provider.host}/token"))
    provider.token_for = lambda form, authorization: (302, {})  # type: ignore[method-assign]
    assert "HTTP 302" in reason(posted(f"{provider.issuer}/token"))
    provider.token_for = lambda form, authorization: (200, {"form": form, "by": authorization})  # type: ignore[method-assign]
    answer = posted(f"{provider.issuer}/token", "a=b%26c&d=")
    assert answer == b'{"form": {"a": "b&c"}, "by": "Basic c2VjcmV0"}'
    provider.close()
