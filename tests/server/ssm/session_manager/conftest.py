"""The `board` fixture: sessions of a node that is connected; their ends join and leave as the edge has them do."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest

from fleetward.protocol.control_channel import TaskCompleted
from fleetward.server import jobs, mailbox, own, presence
from fleetward.server.call import Context, Sent, service_context
from fleetward.server.service import BATCH, Entry
from fleetward.server.ssm import session_manager, ssm
from fleetward.server.ssm.session_manager import ends, table
from fleetward.server.ssmmessages import ssmmessages

SERVER = "server"
TAKE = Entry("take", mailbox.take(ssm.messages.__getitem__), together=100, audit=False)
COMPLETED = ssm.replies["agent_task_complete"]


class Board:
    """One account's sessions; everything goes through the real entries. The node is new for each board."""

    def __init__(self, world: Any, fleet: Any) -> None:
        self.world = world
        self.fleet = fleet
        self.here = service_context(world.account, world.region)
        self.keep_alive()
        self.node = self.new_node()

    def new_node(self, **facts: Any) -> str:
        """A node whose control channel is open."""
        node_id: str = self.fleet.admit(**facts)
        self.connect(node_id)
        return node_id

    def connect(self, node_id: str = "") -> int:
        """The node opens its control channel anew; the epoch."""
        arrival = Entry("connect", presence.connect, together=BATCH, audit=False)
        return int(self.world.submit(arrival, self.here, (node_id or self.node, SERVER, "3.3.0.0")))

    def user(self, name: str, *statements: Mapping[str, Any]) -> Context:
        """A user of these permissions, as the edge presents one who signs with a long-lived key."""
        context: Context = self.world.as_role(*statements)
        arn = f"arn:aws:iam::{self.world.account}:user/{name}"
        keys = {"aws:username": name, "aws:userid": f"AIDA{name.upper()}"}
        caller = replace(
            context.caller, kind="user", arn=arn, user_id=f"AIDA{name.upper()}", access_key_id="AKIA", context=keys
        )
        return replace(context, caller=caller)

    def keep_alive(self, server: str = SERVER) -> None:
        """The server renews its lease."""
        self.world.entry(presence.renew)((server, ""))

    def start(self, caller: Any = "root", **request: Any) -> dict[str, Any]:
        """StartSession to the board's node."""
        answer: dict[str, Any] = self.world.call("StartSession", {"Target": self.node, **request}, caller)
        return answer

    def open(self, caller: Any = "root", **request: Any) -> str:
        """A session with both its ends; its id."""
        started = self.start(caller, **request)
        self.node_joins(started["SessionId"])
        self.client_joins(started)
        return str(started["SessionId"])

    def node_token(self, session_id: str, node_id: str = "") -> str:
        """CreateDataChannel."""
        request = {"SessionId": session_id, "MessageSchemaVersion": "1.0", "RequestId": "1"}
        answer = self.world.call("ssmmessages:CreateDataChannel", request, node_id or self.node)
        return str(answer["TokenValue"])

    def node_joins(self, session_id: str, token: str = "", server: str = SERVER, node_id: str = "") -> ends.Joined:
        """The node's end is opened."""
        token = token or self.node_token(session_id)
        context = self.world.as_node(node_id or self.node)
        return self._joined(Entry("joins", ends.node_joins, audit=False), context, (session_id, token, server))

    def client_joins(self, started: Mapping[str, Any], server: str = SERVER) -> ends.Joined:
        """The client's end is opened with the token of StartSession or ResumeSession."""
        request = (started["SessionId"], started["TokenValue"], server)
        return self._joined(Entry("joins", ends.client_joins, audit=False), self.here, request)

    def _joined(self, entry: Entry, context: Context, request: Any) -> ends.Joined:
        joined = self.world.submit(entry, context, request)
        assert isinstance(joined, ends.Joined)
        return joined

    def node_leaves(self, session_id: str, epoch: int = 1) -> None:
        """A connection of the node is gone."""
        self.world.entry(ends.node_leaves)((session_id, epoch))

    def client_leaves(self, session_id: str, epoch: int = 1) -> None:
        """A connection of the client is gone."""
        self.world.entry(ends.client_leaves)((session_id, epoch))

    def counts(self, session_id: str, bytes_in: int = 1, bytes_out: int = 1) -> None:
        """So much has just gone through."""
        key = table.Key(self.world.account, self.world.region, session_id)
        traffic = ends.Traffic(key, bytes_in, bytes_out, self.world.clock.now())
        self.world.submit(Entry("count", ends.count, together=BATCH, audit=False), self.here, traffic)

    def completes(
        self, session_id: str, status: str = "Success", output: str = "", node_id: str = "", **more: str
    ) -> None:
        """The node says that a session is over on it."""
        members = {"s3_bucket": "", "s3_url_suffix": "", "log_group": "", "log_stream": "", **more}
        completion = TaskCompleted(
            session_id=session_id,
            message_id=uuid.uuid4(),
            final_status=status,
            output=output,
            node_id=self.node,
            account_id="",
            is_routing_failure=False,
            retry_number=1,
            **members,
        )
        self.world.submit(COMPLETED, self.world.as_node(node_id or self.node), completion)

    def completes_together(self, *told: tuple[str, TaskCompleted]) -> None:
        """Several nodes say so in one transaction."""
        sent = [Sent(self.world.as_node(node_id), completion) for node_id, completion in told]
        self.world.do(lambda call: COMPLETED.function(call, sent))

    def messages(self, node_id: str = "", epoch: int = 1) -> list[mailbox.Outgoing]:
        """What goes out over the node's control channel now."""
        return list(self.world.submit(TAKE, self.here, (node_id or self.node, epoch)))

    def row(self, session_id: str) -> Any:
        """The session as it is stored."""
        return self.world.do(lambda call: table.find(call, session_id))

    def described(self, session_id: str) -> dict[str, Any]:
        """The session as DescribeSessions has it."""
        for state in ("Active", "History"):
            request = {"State": state, "Filters": [{"key": "SessionId", "value": session_id}]}
            for found in self.world.call("DescribeSessions", request)["Sessions"]:
                return dict(found)
        return {}

    def status(self, session_id: str) -> str:
        """Its status."""
        return str(self.described(session_id)["Status"])

    def pass_time(self, **units: float) -> None:
        """Time passes and the timers run, while the server lives."""
        self.world.clock.advance(timedelta(**units))
        self.keep_alive()
        self.tick()

    def tick(self) -> None:
        """Run the timers as they stand."""
        self.world.do(session_manager.limits.find_left_behind)
        self.world.do(session_manager.limits.end_overdue)

    def work(self) -> list[Any]:
        """Run the jobs that are due; what they ask the edge to do."""
        effects: list[Any] = []
        for job in self.world.entry(jobs.lease)((SERVER, 100)):
            entry = ssm.jobs[job.kind]
            step = replace(entry, function=jobs.advance(entry.function))
            effects += self.world.submit(step, service_context(job.account, job.region), (SERVER, job)).effects
        return effects

    def document(self, name: str, content: Mapping[str, Any]) -> str:
        """A Session document of the account's own."""
        request = {
            "Name": name,
            "DocumentType": "Session",
            "DocumentFormat": "JSON",
            "Content": orjson.dumps(content).decode(),
        }
        self.world.call("CreateDocument", request)
        return name


@pytest.fixture
def board(world: Any, fleet: Any) -> Board:
    """An account with one node that is connected."""
    world.services |= {"ssmmessages": ssmmessages, "fleetward": own.own}
    return Board(world, fleet)
