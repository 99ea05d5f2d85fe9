"""Background: who runs a timer, and for which tenants."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fleetward.server import audit
from fleetward.server.edge.background import due_tenants, take_timer
from fleetward.server.service import Entry, Timer
from tests.channel import Channel
from tests.serving import StartServer, eventually

MINUTE = timedelta(minutes=1)


def test_one_server_runs_a_timer_once_a_period(world: Any) -> None:
    """Whoever asks first has it; the next period is anybody's."""
    take = world.entry(take_timer)
    assert take(("t", MINUTE)) is True
    assert take(("t", MINUTE)) is False
    world.clock.advance(MINUTE)
    assert take(("t", MINUTE)) is True
    assert take(("t", MINUTE)) is False


def test_timers_do_not_wait_for_each_other(world: Any) -> None:
    """Each name has a lease of its own; a missed period is not made up for."""
    take = world.entry(take_timer)
    assert take(("a", MINUTE)) is True
    assert take(("b", MINUTE)) is True
    world.clock.advance(10 * MINUTE)
    assert take(("a", MINUTE)) is True
    assert take(("a", MINUTE)) is False


def test_a_timer_runs_in_the_tenants_with_something_due(world: Any) -> None:
    """By its statement; nothing due, no tenant."""
    timer = Timer("audit.seal", MINUTE, Entry("seal", audit.seal), audit.TENANTS_UNSEALED)
    assert world.entry(due_tenants)(timer) == []
    entry = Entry("ssm:Test", lambda call: None)
    for region in ("us-east-1", "eu-central-1"):
        context = world.as_root(region=region)
        world.entry(lambda call: audit.record(call, entry, None, None), context=context)()
    assert sorted(world.entry(due_tenants)(timer)) == [(world.account, "eu-central-1"), (world.account, "us-east-1")]


def test_a_lost_acknowledgement_is_sent_for_again(start_server: StartServer) -> None:
    """The loop that runs every second finds what is due: the same job comes a second time, and runs once."""
    server = start_server()
    node = server.join(1)
    with Channel(node) as channel:
        request = {
            "InstanceIds": [node.node_id],
            "DocumentName": "AWS-RunShellScript",
            "Parameters": {"commands": ["true"]},
        }
        command_id = server.call("SendCommand", request, server.root).json["Command"]["CommandId"]
        first = channel.job()
        again = channel.run()
        assert again.job_id == first.job_id
        ids = {"CommandId": command_id, "InstanceId": node.node_id}
        eventually(lambda: server.call("GetCommandInvocation", ids, server.root).json["Status"] == "Success")
