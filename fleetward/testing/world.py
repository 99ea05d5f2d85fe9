"""World: a whole fleet in one process on one simulated clock, the same for the same seed.

The servers are real from the channels down (`fleetward.testing.server`), on a real SQLite file; nodes, links and the
bus are simulated. A test says what happens and moves time:

    with World(seed=7, nodes=5) as world:
        sent = world.ask("SendCommand", {"InstanceIds": world.ids[:1], "DocumentName": "AWS-RunShellScript",
                                         "Parameters": {"commands": ["sleep 20"]}})
        world.run(30)
        world.check()

`fleetward.testing.storm` lets a seed decide what happens. Whatever happens, `check` holds the fleet to its promises.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from fleetward.protocol.api.model import load_service
from fleetward.protocol.control_channel import SEND_COMMAND, command_id_of
from fleetward.protocol.frame import decode
from fleetward.server import app
from fleetward.server.backends.store_sqlite import SqliteStore
from fleetward.server.call import Call, Caller, Context, service_context
from fleetward.server.edge.channels import ROUNDS_OF_SILENCE, NodeChannel
from fleetward.server.iam import principals
from fleetward.server.keys import KeyRing
from fleetward.server.service import Entry
from fleetward.server.settings import Settings
from fleetward.server.ssm import nodes as managed_nodes
from fleetward.server.ssmmessages import seal_token, token_opens
from fleetward.testing import invariants
from fleetward.testing.clock import Coming, SimClock, start
from fleetward.testing.link import Link, Socket
from fleetward.testing.node import HTTP_TIMEOUT, Node, Unreachable
from fleetward.testing.server import SimBus, SimServer, Surroundings, Trouble

ACCOUNT = "123456789012"
REGION = "us-east-1"
KINDS = ("official", "official", "official", "ours", "ours", "polling")
COMMANDS_AT_ONCE = 4
"""What DESIGN 3.4 allows of one node's commands to be sent or running; held against the mailbox here."""


class BrokenPromise(AssertionError):
    """The fleet did what it must never do; the text begins with the seed."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A reply of a node that the server acknowledged: from then on it must not be lost."""

    node_id: str
    command_id: str
    content: Mapping[str, Any]
    at: int


class World:
    """A fleet of one or two servers and some nodes; everything that is left to chance follows from `seed`."""

    def __init__(self, seed: int, *, nodes: int = 3, servers: int = 1, kinds: tuple[str, ...] = KINDS) -> None:
        self.seed = seed
        self.chance = random.Random(seed)  # noqa: S311  (a simulation must repeat itself)
        self.clock = SimClock()
        self.faults: Counter[str] = Counter()
        self.trouble = Trouble()
        self.violations: list[str] = []
        self.executions: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.cancels: dict[tuple[str, str], int] = {}
        self.confirmed_replies: list[Confirmed] = []
        self.trace: Callable[[str], None] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="fleetward-world-", dir=_memory()))
        database = self.folder / "fleetward.db"
        shutil.copy(_template(), database)
        self.eyes = sqlite3.connect(database, isolation_level=None)
        self._keys = KeyRing({1: self.chance.randbytes(32)})
        bus = SimBus(self.clock, self.chance, self.trouble, self.happened)
        self._around = Surroundings(
            clock=self.clock,
            chance=self.chance,
            trouble=self.trouble,
            bus=bus,
            keys=self._keys,
            settings=Settings(data=self.folder, account=ACCOUNT, region=(REGION,)),
            database=database,
            eyes=self.eyes,
            shape=_shape,
            committed=self._committed,
            failed=lambda fault: self.broken(f"an entry failed: {fault!r}"[:400]),
        )
        self._sockets: dict[SimServer, list[Socket]] = {}
        self._silence = self._around.settings.channel_silence / ROUNDS_OF_SILENCE
        self._starts = 0
        self.servers = [self._new_server(number) for number in range(servers)]
        self.nodes = [self._join(self.chance.choice(kinds), number) for number in range(nodes)]
        for node in self.nodes:
            node.start()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything and remove its folder."""
        for server in self.servers:
            server.died = _nothing
            server.kill()
        self.eyes.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- what a test does -------------------------------------------------------------------------

    @property
    def ids(self) -> list[str]:
        """The ids of the nodes that are registered."""
        return [node.node_id for node in self.nodes if self.is_registered(node.node_id)]

    def is_registered(self, node_id: str) -> bool:
        """Whether the node has not been deregistered."""
        return self.eyes.execute("SELECT 1 FROM nodes WHERE node_id = ?", (node_id,)).fetchone() is not None

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass; with `until`, no longer than until that is true. Returns whether it became true."""
        return self.clock.run(seconds, until)

    def ask(self, operation: str, request: Mapping[str, Any]) -> Any:
        """Call an operation of ssm as root, let time pass until it is answered, and return or raise the answer."""
        asked = self.begin(operation, request)
        self.run(60, lambda: asked.settled)
        return asked.result()

    def begin(self, operation: str, request: Mapping[str, Any]) -> Coming:
        """Call an operation of ssm as root on some living server; the answer may never come if that one is killed."""
        living = self.living()
        if not living:
            coming = Coming()
            coming.settle(Unreachable("no server lives"))
            return coming
        server = self.chance.choice(living)
        return start(server.request(_root(), "ssm", operation, dict(request)))

    def do(self, function: Callable[[Call], Any]) -> Coming:
        """Run `function(call)` in a transaction on some living server."""
        server = self.chance.choice(self.living())
        return server.run(Entry("simulation", function, audit=False), service_context(ACCOUNT, REGION), None)

    def living(self) -> list[SimServer]:
        """The servers that run."""
        return [server for server in self.servers if server.alive]

    def kill_server(self, number: int, *, quietly: bool = False) -> None:
        """kill -9 of a server; `quietly`: with its machine, so that nodes are not told."""
        server = self.servers[number]
        server.died = lambda: self._died(server, quietly)
        server.kill()

    def start_server(self, number: int) -> None:
        """Start a killed server anew."""
        if not self.servers[number].alive:
            self.say(f"server {number} starts")
            self.servers[number] = self._new_server(number)

    def check(self) -> None:
        """Raise BrokenPromise if the fleet has broken one so far; works at any time."""
        self._report(self.violations + invariants.always(self))

    def look(self) -> None:
        """A quick `check`, for looking often."""
        self._report(self.violations + invariants.in_passing(self))

    def check_ended(self) -> None:
        """As `check`, and everything that was begun must have ended."""
        self._report(self.violations + invariants.always(self) + invariants.ended(self))

    def happened(self, fault: str, number: int = 1) -> None:
        """Count a fault that took effect."""
        self.faults[fault] += number

    def say(self, text: str) -> None:
        """A line for whoever follows what happens."""
        if self.trace is not None:
            self.trace(f"{self.clock.elapsed / 1e6:10.3f} {text}")

    def broken(self, text: str) -> None:
        """A promise was broken."""
        self.say(f"BROKEN: {text}")
        self.violations.append(f"at {self.clock.elapsed / 1e6:.3f} s: {text}")

    def _report(self, violations: list[str]) -> None:
        if violations:
            shown = "\n  ".join(violations[:8])
            more = f"\n  and {len(violations) - 8} more" if len(violations) > 8 else ""
            raise BrokenPromise(f"seed {self.seed}:\n  {shown}{more}")

    # --- what nodes ask of the world --------------------------------------------------------------

    def open_channel(self, node: Node, open_message: Callable[[str], str]) -> Socket | None:
        """A control channel to some living server, its first message under way."""
        living = self.living()
        if not living or node.link.conditions.down or not self.is_registered(node.node_id):
            return None
        server = self.chance.choice(living)
        token = seal_token(self._keys, ACCOUNT, node.node_id, self.clock.now().timestamp())
        channel = server.channels.listener(_node(node.node_id), self._token_check(node.node_id))
        socket = node.link.open(channel, node)
        socket.watch = lambda data: self._watch(node, channel, data)
        self._sockets[server].append(socket)
        socket.open_with(open_message(token))
        self.say(f"{node.node_id} connects to {server.name}")
        return socket

    async def call(self, node: Node, service: str, operation: str, request: dict[str, Any]) -> Any:
        """A signed call of a node to some living server, over its link."""
        link = node.link
        living = self.living()
        if not living or not self.is_registered(node.node_id) or not link.passes(up=True):
            await self.clock.sleep(HTTP_TIMEOUT)
            raise Unreachable
        await self.clock.sleep(link.delay())
        server = self.chance.choice(living)
        answered = Coming()
        self.clock.after(HTTP_TIMEOUT, answered.settle, Unreachable("no answer in time"))
        inner = start(server.request(_node(node.node_id), service, operation, request))
        inner.then(lambda: answered.settle(inner.outcome))
        result = await answered
        if not link.passes(up=False):
            await self.clock.sleep(HTTP_TIMEOUT)
            raise Unreachable
        await self.clock.sleep(link.delay())
        return result

    def began(self, node: Node, command_id: str) -> None:
        """A node runs a command: it must be the first time, and nobody may have told it to cancel it."""
        key = (command_id, node.node_id)
        self.say(f"{node.node_id} runs {command_id[:8]}")
        if key in self.executions:
            self.broken(f"{node.node_id} ({node.kind}) ran command {command_id} again")
        if key in self.cancels:
            self.broken(f"{node.node_id} ran command {command_id} after it was told to cancel it")
        self.executions[key].append(self.clock.elapsed)

    def told_to_cancel(self, node: Node, command_id: str) -> None:
        """An order to cancel has arrived."""
        self.cancels.setdefault((command_id, node.node_id), self.clock.elapsed)

    def confirmed(self, node: Node, content: dict[str, Any], job_id: str) -> None:
        """A reply was acknowledged: it must be found in the end."""
        self.confirmed_replies.append(Confirmed(node.node_id, command_id_of(job_id), content, self.clock.elapsed))

    # --- inside -----------------------------------------------------------------------------------

    def _new_server(self, number: int) -> SimServer:
        self._starts += 1
        server = SimServer(f"server-{number}-{self._starts}", self._around)
        server.died = lambda: self._died(server, False)
        self._sockets[server] = []
        self.clock.after(self._silence, self._next_round, server)
        return server

    def _next_round(self, server: SimServer) -> None:
        """Agents ping, and the server looks who has been silent for too long."""
        if server.alive:
            for socket in self._sockets[server]:
                socket.ping()
            server.channels.next_round()
            self.clock.after(self._silence, self._next_round, server)

    def _died(self, server: SimServer, quietly: bool) -> None:
        self.say(f"{server.name} is killed")
        for socket in self._sockets.pop(server, ()):
            socket.server_died(quietly=quietly)
        if quietly:
            for node in self.nodes:
                self.notices_silence(node)

    def notices_silence(self, node: Node) -> None:
        """A node without pongs gives its connection up after 60 s to 114 s."""
        self.clock.after(self.chance.uniform(60, 114), node.notice_silence)

    def _committed(self) -> None:
        for server in self.servers:
            server.tick_soon()

    def _join(self, kind: str, number: int) -> Node:
        """Admit a node as an activation would, and tell its platform."""
        platform = "Windows" if self.chance.random() < 0.06 else "Linux"
        labels = {"Environment": self.chance.choice(("prod", "dev")), "Role": self.chance.choice(("web", "db", "edge"))}
        admission = managed_nodes.Admission(
            activation_id="simulation",
            iam_role="SSMServiceRole",
            name=f"node-{number}",
            tags=labels,
            public_key=self.chance.randbytes(64),
            fingerprint=f"fingerprint-{number}",
        )
        admitted = self.do(lambda call: managed_nodes.admit(call, admission))
        self.run(1, lambda: admitted.settled)
        node_id = admitted.result()
        beat = {"InstanceId": node_id, "PlatformType": platform, "AgentVersion": "3.3.0.0"}
        start(self.servers[0].request(_node(node_id), "ssm", "UpdateInstanceInformation", beat))
        link = Link(self.clock, self.chance, self.happened)
        return Node(node_id, kind, link, self, self.chance)

    def _token_check(self, node_id: str) -> Callable[[str], bool]:
        return lambda token: token_opens(self._keys, token, ACCOUNT, node_id, self.clock.now().timestamp())

    def _watch(self, node: Node, channel: NodeChannel, data: bytes) -> None:
        """Judge what a server sends at the moment it does."""
        frame = decode(data)
        if frame.message_type != "agent_job":
            return
        body = json.loads(frame.payload)
        now = self.clock.now()
        connection = self.eyes.execute(
            "SELECT epoch, connected_at FROM presence_connections WHERE node_id = ?", (node.node_id,)
        ).fetchone()
        if connection is not None and connection[0] != channel.epoch and not invariants.is_now(connection[1], now):
            self.broken(f"{node.node_id} was sent {body['JobId']} on a connection that is not its newest")
        if not body["Topic"].startswith(SEND_COMMAND):
            return
        command_id = command_id_of(body["JobId"])
        self.say(f"{node.node_id} is sent {command_id[:8]}")
        row = self.eyes.execute(
            "SELECT ended_at FROM run_command_invocations WHERE command_id = ? AND node_id = ?",
            (command_id, node.node_id),
        ).fetchone()
        if row is None or (row[0] is not None and not invariants.is_now(row[0], now)):
            self.broken(f"{node.node_id} was sent command {command_id} after its end")
        (slots,) = self.eyes.execute(
            "SELECT count(*) FROM mailbox_messages WHERE node_id = ? AND lane = 1 AND state IN ('sent', 'accepted')",
            (node.node_id,),
        ).fetchone()
        if slots > COMMANDS_AT_ONCE:
            self.broken(f"{slots} commands of {node.node_id} are sent or running at a time")


def _root() -> Context:
    caller = Caller(kind="root", arn=principals.root_arn(ACCOUNT), account=ACCOUNT, user_id=ACCOUNT)
    return Context(account=ACCOUNT, region=REGION, caller=caller, request_id="simulation")


def _node(node_id: str) -> Context:
    arn = principals.node_arn(ACCOUNT, REGION, node_id)
    caller = Caller(kind="node", arn=arn, account=ACCOUNT, user_id=node_id, node_id=node_id)
    return Context(account=ACCOUNT, region=REGION, caller=caller)


@cache
def _model(service: str) -> Any:
    return load_service(service)


def _shape(entry: Entry) -> Any:
    service, _, operation = entry.name.partition(":")
    return _model(service).operations[operation].input


def _memory() -> str | None:
    """A memory file system where there is one, so that commits cost no disk."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


@cache
def _template() -> Path:
    """A database with all tables, and with triggers that take note of what must never happen."""
    folder = Path(tempfile.mkdtemp(prefix="fleetward-template-", dir=_memory()))
    Finalize(None, shutil.rmtree, (folder, True), exitpriority=0)  # unlike atexit, also in processes of a pool
    store = SqliteStore(folder / "fleetward.db", threads=False)
    app.create_tables(store)
    with store.engine.connect() as connection:
        for statement in invariants.TRIGGERS:
            connection.exec_driver_sql(statement)
    store.close()
    return folder / "fleetward.db"


def _nothing() -> None:
    """Nobody is told when a world ends."""
