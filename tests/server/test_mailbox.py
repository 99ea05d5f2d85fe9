"""Mailbox: what goes out when, on which road, how often, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from fleetward.server import mailbox, presence
from fleetward.server.call import Call, Sent, service_context
from fleetward.server.mailbox import POLLING, TAKEN_AT_ONCE, GivenUp, Lane, Message, Outgoing, Refused, Rendered
from tests.both_databases import ACCOUNT, REGION, Core

N1 = "mi-00000000000000001"


def renderers(kind: str) -> Callable[[Call, Sequence[str]], dict[str, Rendered]]:
    def render(_: Call, subjects: Sequence[str]) -> dict[str, Rendered]:
        return {s: Rendered(f"topic.{kind}", None if s == "over" else f"text of {s}") for s in subjects if s != "gone"}

    return render


def post(core: Core, *ids: str, node: str = N1, lane: Lane = Lane.COMMAND, subject: str = "s", kind: str = "k") -> None:
    expires = core.time + timedelta(hours=1)
    core.do(lambda call: mailbox.post(call, [Message(node, i, kind, subject, expires, lane) for i in ids]))


def connect(core: Core, node: str = N1, version: str = "3.3.0.0") -> int:
    return core.batch(presence.connect, [(node, "server", version)])[0]


def take(core: Core, epoch: int, node: str = N1) -> list[str] | None:
    messages = taken(core, epoch, node)
    return None if messages is None else [message.message_id for message in messages]


def taken(core: Core, epoch: int, node: str = N1) -> list[Outgoing] | None:
    return core.batch(mailbox.take(renderers), [(node, epoch)])[0]


def acknowledge(core: Core, *answers: tuple[str, int], node: str = N1, text: str = "") -> None:
    core.batch(mailbox.acknowledge, [(node, message_id, code, text) for message_id, code in answers])


def finish(core: Core, *ids: str) -> None:
    core.do(lambda call: mailbox.finish(call, [(N1, message_id) for message_id in ids]))


def test_posted_message_wakes_its_node_and_is_rendered_when_taken(core: Core) -> None:
    post(core, "m1", subject="this")
    assert core.wakes == [f"node/{ACCOUNT}/{REGION}/{N1}"]
    epoch = connect(core)
    assert taken(core, epoch) == [Outgoing(N1, "m1", "topic.k", "text of this", core.time)]
    assert take(core, epoch) == []


def test_message_belongs_to_its_node_and_tenant(core: Core) -> None:
    post(core, "m1")
    epoch = connect(core, "mi-2")
    assert take(core, epoch, "mi-2") == []
    other = {"region": "eu-west-1"}
    assert core.batch(mailbox.take(renderers), [(N1, POLLING)], **other) == [[]]
    assert take(core, POLLING) == ["m1"]


def test_only_the_newest_connection_takes(core: Core) -> None:
    old, new = connect(core), connect(core)
    post(core, "m1")
    assert take(core, old) is None
    assert take(core, new) == ["m1"]
    assert take(core, 99) is None


def test_message_whose_subject_is_over_is_dropped(core: Core) -> None:
    post(core, "m1", subject="over")
    post(core, "m2", subject="gone")
    post(core, "m3", subject="there")
    assert take(core, connect(core)) == ["m3"]
    finish(core, "m3")
    assert core.do(lambda call: mailbox.clear(call, N1)) == []


def test_no_more_than_four_commands_are_out_at_once(core: Core) -> None:
    post(core, *(f"m{number}" for number in range(7)))
    epoch = connect(core)
    assert take(core, epoch) == ["m0", "m1", "m2", "m3"]
    acknowledge(core, *((f"m{number}", 200) for number in range(4)))
    assert take(core, epoch) == []
    core.wakes.clear()
    finish(core, "m1", "m3")
    assert core.wakes == [f"node/{ACCOUNT}/{REGION}/{N1}"]
    assert take(core, epoch) == ["m4", "m5"]


def test_urgent_passes_the_queue_and_associations_come_last(core: Core) -> None:
    post(core, "association", lane=Lane.ASSOCIATION)
    post(core, *(f"m{number}" for number in range(4)))
    epoch = connect(core)
    assert take(core, epoch) == ["m0", "m1", "m2", "m3"]
    post(core, "cancel", lane=Lane.URGENT)
    assert take(core, epoch) == ["cancel"]
    finish(core, "m0")
    assert take(core, epoch) == ["association"]


def test_unacknowledged_message_is_repeated_after_3_6_12_30_seconds(core: Core) -> None:
    post(core, "m1")
    epoch = connect(core)
    assert take(core, epoch) == ["m1"]
    for pause in (3, 6, 12, 30, 30):
        core.advance(seconds=pause - 0.001)
        assert take(core, epoch) == []
        core.advance(seconds=0.001)
        assert take(core, epoch) == ["m1"]


def test_repetition_counts_as_the_same_command(core: Core) -> None:
    post(core, *(f"m{number}" for number in range(6)))
    epoch = connect(core)
    take(core, epoch)
    core.advance(seconds=3)
    assert take(core, epoch) == ["m0", "m1", "m2", "m3"]


@pytest.mark.parametrize("code", [200, 51405])
def test_accepted_message_is_not_repeated(core: Core, code: int) -> None:
    post(core, "m1")
    epoch = connect(core)
    take(core, epoch)
    acknowledge(core, ("m1", code))
    core.advance(minutes=10)
    assert take(core, epoch) == []
    assert take(core, connect(core)) == []
    assert core.do(lambda call: mailbox.was_sent(call, N1, "m1"))


def test_any_reply_accepts(core: Core) -> None:
    post(core, "m1")
    epoch = connect(core)
    take(core, epoch)
    core.do(lambda call: mailbox.accept(call, [(N1, "m1"), (N1, "unknown")]))
    core.advance(minutes=10)
    assert take(core, epoch) == []


@pytest.mark.parametrize("code", [51401, 51402])
def test_busy_node_is_asked_again_after_ten_seconds(core: Core, code: int) -> None:
    post(core, "m1")
    epoch = connect(core)
    take(core, epoch)
    acknowledge(core, ("m1", code))
    core.advance(seconds=9)
    assert take(core, epoch) == []
    core.advance(seconds=1)
    assert take(core, epoch) == ["m1"]


def test_late_busy_does_not_undo_an_acceptance(core: Core) -> None:
    post(core, "m1")
    epoch = connect(core)
    take(core, epoch)
    acknowledge(core, ("m1", 200))
    acknowledge(core, ("m1", 51401))
    core.advance(minutes=5)
    assert take(core, epoch) == []


def test_other_refusals_end_the_message_and_tell_its_capability(core: Core) -> None:
    post(core, "m1", subject="mine")
    epoch = connect(core)
    take(core, epoch)
    acknowledge(core, ("m1", 51403), ("unknown", 51403), text="cannot")
    assert core.events == [Refused(N1, "k", "mine", "m1", 51403, "cannot")]
    core.advance(minutes=5)
    assert take(core, epoch) == []


def test_sent_message_is_held_for_late_news_after_a_reconnect(core: Core) -> None:
    post(core, "m1")
    take(core, connect(core))
    core.advance(seconds=4)
    epoch = connect(core)
    post(core, "m2")
    assert take(core, epoch) == ["m2"]
    core.advance(seconds=14)
    assert "m1" not in take(core, epoch)
    core.advance(seconds=1)
    assert "m1" in take(core, epoch)


def test_message_the_agent_may_have_forgotten_is_given_up(core: Core) -> None:
    post(core, "m1", subject="mine")
    take(core, connect(core))
    core.advance(minutes=26)
    epoch = connect(core)
    core.advance(seconds=15)
    assert take(core, epoch) == []
    assert core.events == [GivenUp(N1, "k", "mine", "m1")]


def test_our_own_agent_never_forgets(core: Core) -> None:
    post(core, "m1")
    take(core, connect(core, version="fleetward 0.1.0"))
    core.advance(minutes=50)
    epoch = connect(core, version="fleetward 0.1.0")
    core.advance(seconds=15)
    assert take(core, epoch) == ["m1"]
    assert core.events == []


def test_polling_road_takes_from_the_same_rows(core: Core) -> None:
    post(core, "m1", "m2")
    assert take(core, POLLING) == ["m1", "m2"]
    assert take(core, POLLING) == []
    core.advance(seconds=10)
    assert take(core, POLLING) == ["m1", "m2"]


def test_recalled_messages_do_not_go_out_again_unless_accepted(core: Core) -> None:
    post(core, "m1", "m2")
    assert take(core, POLLING) == ["m1", "m2"]
    core.do(lambda call: mailbox.accept(call, [(N1, "m2")]))
    core.do(lambda call: mailbox.recall(call, [(N1, "m1"), (N1, "m2")]))
    assert core.do(lambda call: mailbox.accepted(call, [N1])) == {(N1, "m2")}
    core.advance(seconds=60)
    assert take(core, POLLING) == []


def test_recalled_and_cleared_messages_do_not_go_out(core: Core) -> None:
    post(core, "m1", "m2", "m3")
    core.do(lambda call: mailbox.recall(call, [(N1, "m1")]))
    assert not core.do(lambda call: mailbox.was_sent(call, N1, "m2"))
    rows = core.do(lambda call: mailbox.clear(call, N1))
    assert sorted(row.message_id for row in rows) == ["m2", "m3"]
    assert take(core, connect(core)) == []


def test_one_message_id_is_posted_once(core: Core) -> None:
    post(core, "m1")
    with pytest.raises(Exception, match=r"(?i)unique"):
        post(core, "m1")
    assert take(core, connect(core)) == ["m1"]


def test_due_nodes_are_those_whose_message_became_due_since(core: Core) -> None:
    before = core.time - timedelta(seconds=1)
    post(core, "m1", "m2")
    post(core, "m3", node="mi-2")
    first = core.time
    due, more = core.read(lambda call: mailbox.due_nodes(call, (before, "", "", "")))
    assert more is None
    assert sorted(due) == [f"node/{ACCOUNT}/{REGION}/{node}" for node in sorted((N1, "mi-2"))]
    take(core, POLLING)
    core.advance(seconds=9)
    assert core.read(lambda call: mailbox.due_nodes(call, (first, "~", "", ""))) == ([], None)
    core.advance(seconds=1)
    due, _ = core.read(lambda call: mailbox.due_nodes(call, (first, "~", "", "")))
    assert due == [f"node/{ACCOUNT}/{REGION}/{N1}"]


def post_many(core: Core, number: int) -> list[str]:
    """A message for each of so many nodes, in one step; their topics."""
    nodes = [f"mi-{index:017x}" for index in range(number)]
    expires = core.time + timedelta(hours=1)
    for first in range(0, number, 1000):
        core.do(
            lambda call, first=first: mailbox.post(
                call, [Message(node, "m", "k", "s", expires) for node in nodes[first : first + 1000]]
            )
        )
    return [f"node/{ACCOUNT}/{REGION}/{node}" for node in nodes]


def test_all_that_became_due_at_once_is_found_at_once(core: Core) -> None:
    """Every node of a large command, whatever else is due; a look goes on where the one before stopped."""
    topics = post_many(core, 12_000)
    found: list[str] = []
    after: mailbox.Place | None = (core.time - timedelta(seconds=1), "", "", "")
    while after is not None:
        some, after = core.read(lambda call, after=after: mailbox.due_nodes(call, after))
        assert len(some) <= mailbox.WOKEN_AT_ONCE
        found += some
    assert found == topics


def test_nodes_whose_messages_cannot_go_out_do_not_hide_others_whose_wake_was_lost(core: Core) -> None:
    """Looks take turns through all nodes."""
    topics = post_many(core, 6000)
    for first in range(0, 6000, 1000):
        names = [topic.rpartition("/")[2] for topic in topics[first : first + 1000]]
        core.batch(presence.connect, [(name, "server", "3.3") for name in names])
    core.advance(seconds=6)
    found: list[list[str]] = []
    after = ("", "", "")
    for _ in range(3):
        some, after = core.read(lambda call, after=after: mailbox.left_waiting(call, ("server", after)))
        found.append(some)
    assert [len(some) for some in found] == [5000, 1000, 5000]
    assert found[0] + found[1] == topics


def test_what_expired_goes_a_thousand_at_a_time(core: Core) -> None:
    post_many(core, 2500)
    core.advance(hours=1)
    assert [core.do(mailbox.expire) for _ in range(4)] == [True, True, False, False]


def test_replies_are_fresh_once_for_three_hours(core: Core) -> None:
    def fresh(*replies: tuple[str, str]) -> list[bool]:
        return core.do(lambda call: mailbox.fresh(call, replies))

    assert fresh((N1, "r1"), (N1, "r2"), (N1, "r1"), ("mi-2", "r1")) == [True, True, False, True]
    assert fresh((N1, "r2"), (N1, "r3")) == [False, True]
    core.advance(hours=2)
    core.do(mailbox.expire)
    assert fresh((N1, "r1")) == [False]
    core.advance(hours=1.5)
    core.do(mailbox.expire)
    assert fresh((N1, "r1")) == [True]


def test_same_reply_arriving_on_two_roads_at_once_is_fresh_once(core: Core) -> None:
    def report(call: Call, members: Sequence[Any]) -> list[bool]:
        return mailbox.fresh(call, [member.request for member in members])

    outcomes = core.batch(report, [(N1, f"r{number % 100}") for number in range(400)])
    assert outcomes.count(True) == 100


def test_two_takers_of_one_node_get_each_message_once(core: Core) -> None:
    post(core, *(f"m{number}" for number in range(4)))
    epoch = connect(core)
    answers = core.batch(mailbox.take(renderers), [(N1, epoch), (N1, epoch), (N1, epoch)])
    answers += core.batch(mailbox.take(renderers), [(N1, epoch)])
    assert sorted(message.message_id for answer in answers for message in answer) == ["m0", "m1", "m2", "m3"]


def test_take_on_both_roads_at_once_gives_each_its_own_answer(core: Core) -> None:
    post(core, "m1")
    epoch = connect(core)
    members = [Sent(service_context(ACCOUNT, REGION), (N1, asked)) for asked in (epoch - 1, POLLING, epoch, epoch - 1)]
    answers = core.do(lambda call: mailbox.take(renderers)(call, members))
    assert [answer and [message.message_id for message in answer] for answer in answers] == [None, [], ["m1"], None]


def test_message_past_its_time_does_not_go_out(core: Core) -> None:
    post(core, "m1", "m2")
    epoch = connect(core)
    core.advance(hours=1)
    assert take(core, epoch) == []
    assert take(core, POLLING) == []
    core.do(mailbox.expire)
    assert core.do(lambda call: mailbox.clear(call, N1)) == []


def test_a_thousand_nodes_are_served_together(core: Core) -> None:
    nodes = [f"mi-{number:04}" for number in range(1000)]
    core.batch(presence.connect, [(node, "server", "3.3") for node in nodes])
    expires = core.time + timedelta(hours=1)
    core.do(lambda call: mailbox.post(call, [Message(node, "m", "k", "s", expires) for node in nodes]))
    answers = core.batch(mailbox.take(renderers), [(node, 1) for node in nodes], TAKEN_AT_ONCE)
    assert [[message.node_id for message in answer] for answer in answers] == [[node] for node in nodes]
    core.batch(mailbox.acknowledge, [(node, "m", 200, "") for node in nodes])
    core.advance(minutes=1)
    assert core.batch(mailbox.take(renderers), [(node, 1) for node in nodes], TAKEN_AT_ONCE) == [[]] * 1000
