"""Two servers on one PostgreSQL, without a bus between them: a sign-in, its end and wrong tries count at both."""

from __future__ import annotations

import pytest

from tests.server.edge.test_console import ended, listed
from tests.services import Postgres
from tests.serving import ServerProcess, StartServer, eventually
from tests.signing_in import DEVICE, REFRESH, Browser, keys, person

pytest_plugins = ["tests.services"]


@pytest.fixture
def pair(start_server: StartServer, postgres_server: Postgres, postgres_url: str) -> list[ServerProcess]:
    """The servers; they share rows and the key ring, and nothing else."""
    first = start_server(database=postgres_url)
    second = start_server(database=postgres_url, keys=first.data / "keys.json", run=False)
    second.start()
    return [first, second]


def test_a_sign_in_is_good_and_ends_at_every_server(pair: list[ServerProcess]) -> None:
    first, second = pair
    name, _ = person(first)
    browser = Browser(first)
    held = keys(browser.sign_in(name))
    assert (listed(first, held), listed(second, held)) == (200, 200)
    at_second = Browser(second, browser.address, cookies=dict(browser.cookies))
    renewed = keys(at_second.refresh())
    assert listed(first, renewed) == 200
    thief = Browser(first, cookies={REFRESH: browser.cookies[REFRESH]})
    assert thief.refresh().code == "SignInEnded"
    eventually(lambda: ended(first, renewed) and ended(second, renewed) and ended(second, held), within=1.2)
    assert at_second.refresh().code == "SignInEnded"


def test_wrong_tries_at_one_server_count_at_the_other(pair: list[ServerProcess]) -> None:
    first, second = pair
    name, _ = person(first)
    known = Browser(first)
    assert known.sign_in(name).status == 200
    stranger, elsewhere = Browser(first), Browser(second)
    elsewhere.address = stranger.address
    statuses = [each.sign_in(name, "wrong").status for each in (stranger, elsewhere) * 4]
    assert statuses[:5] == [401] * 5
    assert 429 in statuses[5:]
    device = Browser(second, stranger.address, cookies={DEVICE: known.cookies[DEVICE]})
    assert device.sign_in(name).status == 200
