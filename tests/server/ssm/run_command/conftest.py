"""The `desk` fixture: commands are sent, their jobs run, and nodes take and answer them as over a control channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import orjson
import pytest

from fleetward.protocol.control_channel import CANCEL_COMMAND, SEND_COMMAND, job_id
from fleetward.server import mailbox, presence
from fleetward.server.call import Sent, service_context
from fleetward.server.service import Entry
from fleetward.server.ssm import run_command, ssm

OWNER = "server"


class Desk:
    """One account with nodes; everything goes through the real entries."""

    def __init__(self, world: Any, fleet: Any) -> None:
        self.world = world
        self.fleet = fleet
        self.context = service_context(world.account, world.region)
        self._replies = 0
        self._take = Entry("take", mailbox.take(ssm.messages.__getitem__), together=100, audit=False)

    def nodes(self, number: int, platform: str = "Linux", **facts: Any) -> list[str]:
        """New nodes with open channels, in order of id."""
        made = sorted(self.fleet.admit(**facts) for _ in range(number))
        for node_id in made:
            self.fleet.beat(node_id, PlatformType=platform)
            self.connect(node_id)
        return made

    def send(self, node_ids: Sequence[str] = (), **members: Any) -> str:
        """SendCommand of a script and its job; returns the command's id."""
        request = {
            "DocumentName": "AWS-RunShellScript",
            "Parameters": {"commands": ["true"]},
            **({"InstanceIds": list(node_ids)} if node_ids else {}),
            **members,
        }
        command_id: str = self.world.call("SendCommand", request)["Command"]["CommandId"]
        self.work()
        return command_id

    def cancel(self, command_id: str, *node_ids: str) -> None:
        """CancelCommand and its job."""
        chosen = {"InstanceIds": list(node_ids)} if node_ids else {}
        self.world.call("CancelCommand", {"CommandId": command_id, **chosen})
        self.work()

    def work(self) -> None:
        """Run all jobs that are due, and those they start."""
        self.world.work(OWNER)

    def later(self, **time: float) -> None:
        """Let time pass, then run what it starts."""
        self.world.clock.advance(timedelta(**time))
        self.world.do(run_command.release.time_out)
        self.work()

    def connect(self, node_id: str, version: str = "3.3.0.0") -> int:
        """The node opens a channel; its epoch."""
        (epoch,) = self._batch(presence.connect, [(node_id, OWNER, version)])
        return int(epoch)

    def take(self, node_id: str) -> list[str]:
        """The ids of the jobs that go out to the node now."""
        row = self.world.do(
            lambda call: call.db.first(presence.CURRENT, account=call.account, in_region=call.region, nodes=[node_id])
        )
        return [message.message_id for message in self.world.submit(self._take, self.context, (node_id, row.epoch))]

    def acknowledge(self, node_id: str, message_id: str, code: int = 200, text: str = "") -> None:
        """The node accepts or refuses a job."""
        self._batch(mailbox.acknowledge, [(node_id, message_id, code, text)])

    def reply(
        self,
        node_id: str,
        command_id: str,
        status: str,
        steps: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        message_id: str = "",
        trace: str = "",
    ) -> None:
        """The node reports about a command."""
        self.replies([(node_id, command_id, status, steps, message_id, trace)])

    def replies(self, told: Sequence[tuple[Any, ...]]) -> None:
        """Reports that arrive together."""
        members = []
        for node_id, command_id, status, steps, message_id, trace in told:
            self._replies += 1
            content = {"documentStatus": status, "documentTraceOutput": trace, "runtimeStatus": steps}
            members.append(
                mailbox.Reply(
                    node_id,
                    job_id(command_id, node_id),
                    message_id or f"reply-{self._replies}",
                    orjson.dumps(content).decode(),
                )
            )
        self._batch(ssm.replies[SEND_COMMAND].function, members)
        self.work()

    def confirm_cancel(self, node_id: str, message_id: str) -> None:
        """The node's only reply to an order to cancel."""
        reply = mailbox.Reply(node_id, message_id, f"confirm {message_id}"[:40], '{"documentStatus":"InProgress"}')
        self._batch(ssm.replies[CANCEL_COMMAND].function, [reply])

    def status(self, command_id: str, node_id: str) -> str:
        """StatusDetails of one invocation."""
        found = self.world.call("ListCommandInvocations", {"CommandId": command_id, "InstanceId": node_id})
        status: str = found["CommandInvocations"][0]["StatusDetails"]
        return status

    def statuses(self, command_id: str) -> list[str]:
        """StatusDetails of all invocations, sorted."""
        found = self.world.call("ListCommandInvocations", {"CommandId": command_id})["CommandInvocations"]
        return sorted(each["StatusDetails"] for each in found)

    def command(self, command_id: str) -> dict[str, Any]:
        """The command as ListCommands shows it."""
        (found,) = self.world.call("ListCommands", {"CommandId": command_id})["Commands"]
        return dict(found)

    def result(self, command_id: str, node_id: str, **members: str) -> dict[str, Any]:
        """GetCommandInvocation."""
        request = {"CommandId": command_id, "InstanceId": node_id, **members}
        return dict(self.world.call("GetCommandInvocation", request))

    def _batch(self, function: Callable[..., Any], requests: Sequence[Any]) -> list[Any]:
        members = [Sent(self.context, request) for request in requests]
        return list(self.world.do(lambda call: function(call, members)) or ())


def step(status: str = "Success", code: int = 0, **told: Any) -> dict[str, Any]:
    """A step as agents report it."""
    return {
        "status": status,
        "code": code,
        "name": "aws:runShellScript",
        "output": "",
        "standardOutput": "",
        "standardError": "",
        "startDateTime": "2030-01-01T12:00:00.000Z",
        "endDateTime": "2030-01-01T12:00:01.500Z",
        **told,
    }


@pytest.fixture
def desk(world: Any, fleet: Any) -> Desk:
    """Run Command's desk."""
    return Desk(world, fleet)


@pytest.fixture
def report() -> Callable[..., dict[str, Any]]:
    """Makes a step as agents report it."""
    return step
