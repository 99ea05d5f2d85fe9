"""Presence: the newest connection of a node counts, as long as its server lives."""

from __future__ import annotations

from fleetward.server import presence
from fleetward.server.call import Call
from tests.both_databases import ACCOUNT, REGION, Core

OTHER_REGION = {"region": "eu-west-1"}


def online(core: Core, *nodes: str, **tenant: str) -> set[str]:
    return core.read(lambda call: presence.connected(call, nodes), **tenant)


def test_each_connection_of_a_node_gets_a_higher_epoch(core: Core) -> None:
    core.run(presence.renew, ("s1", ""))
    assert core.batch(presence.connect, [("mi-1", "s1", "3.3"), ("mi-2", "s1", "3.3"), ("mi-1", "s1", "3.3")]) == [
        1,
        1,
        2,
    ]
    assert core.batch(presence.connect, [("mi-1", "s1", "3.3")]) == [3]
    assert core.batch(presence.connect, [("mi-1", "s1", "3.3")], **OTHER_REGION) == [1]


def test_node_is_woken_when_it_connects(core: Core) -> None:
    core.batch(presence.connect, [("mi-1", "s1", "3.3")])
    assert core.wakes == [f"node/{ACCOUNT}/{REGION}/mi-1"]


def test_node_is_connected_while_its_server_lives(core: Core) -> None:
    core.run(presence.renew, ("s1", ""))
    core.batch(presence.connect, [("mi-1", "s1", "3.3"), ("mi-2", "unknown", "3.3")])
    assert online(core, "mi-1", "mi-2", "mi-3") == {"mi-1"}
    assert online(core) == set()
    assert online(core, "mi-1", **OTHER_REGION) == set()
    core.advance(seconds=21)
    assert online(core, "mi-1") == set()
    core.run(presence.renew, ("s1", ""))
    assert online(core, "mi-1") == {"mi-1"}


def test_late_farewell_does_not_end_a_newer_connection(core: Core) -> None:
    for server in ("s1", "s2"):
        core.run(presence.renew, (server, ""))
    core.batch(presence.connect, [("mi-1", "s1", "3.3")])
    core.batch(presence.connect, [("mi-1", "s2", "3.3")])
    core.batch(presence.leave, [("mi-1", 1)])
    assert online(core, "mi-1") == {"mi-1"}
    core.batch(presence.leave, [("mi-1", 2), ("mi-9", 1)])
    assert online(core, "mi-1") == set()
    assert core.batch(presence.connect, [("mi-1", "s1", "3.3")]) == [3]


def test_server_that_stays_silent_loses_its_connections_to_the_next_renewal(core: Core) -> None:
    core.run(presence.renew, ("dead", ""))
    core.run(presence.renew, ("alive", ""))
    core.batch(presence.connect, [("mi-1", "dead", "3.3"), ("mi-2", "alive", "3.3")])
    core.advance(seconds=81)
    core.run(presence.renew, ("alive", ""))
    core.run(presence.renew, ("dead", ""))  # comes back, without its connections
    assert online(core, "mi-1", "mi-2") == {"mi-2"}


def test_forgotten_node_begins_anew(core: Core) -> None:
    core.run(presence.renew, ("s1", ""))
    core.batch(presence.connect, [("mi-1", "s1", "3.3")])
    core.do(lambda call: presence.forget(call, "mi-1"))
    assert online(core, "mi-1") == set()


def test_whole_fleets_may_be_asked_for_at_once(core: Core) -> None:
    core.run(presence.renew, ("s1", ""))
    core.batch(presence.connect, [("mi-07777", "s1", "3.3")])
    assert online(core, *(f"mi-{number:05}" for number in range(70_000))) == {"mi-07777"}


def test_a_thousand_nodes_connect_together(core: Core) -> None:
    def sizes(call: Call, members: object) -> object:
        return presence.connect(call, members)  # type: ignore[arg-type]

    assert set(core.batch(sizes, [(f"mi-{number}", "s1", "3.3") for number in range(1000)])) == {1}
