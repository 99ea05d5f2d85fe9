"""Storm: a seed decides the fleet, what operators do to it and what goes wrong; afterwards everything must be in order.

`Storm(seed).run()` lets operators send and cancel commands while servers, links, the bus and agents fail, then stops
the faults, waits until everything has ended and sends one last command that every node must carry out.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fleetward.server.ssm.run_command import commands
from fleetward.testing.clock import SECOND, Coming
from fleetward.testing.link import Conditions
from fleetward.testing.node import Node
from fleetward.testing.world import BrokenPromise, World

STEPS = "Simulation-ThreeSteps"
STEPS_CONTENT = json.dumps(
    {
        "schemaVersion": "2.2",
        "description": "Three scripts, one after the other",
        "parameters": {
            "commands": {"type": "StringList"},
            "executionTimeout": {"type": "String", "default": "3600"},
        },
        "mainSteps": [
            {
                "action": "aws:runShellScript",
                "name": name,
                "inputs": {"runCommand": "{{ commands }}", "timeoutSeconds": "{{ executionTimeout }}"},
            }
            for name in ("prepare", "change", "verify")
        ],
    }
)
LAST_COMMAND_WITHIN = 300.0
"""Seconds in which a calm fleet must carry out the last command, wakes lost or not."""
CANCEL_WITHIN = 90.0
LEFT_WITHIN = 90.0
FEWEST_COMMANDS = 30
LOOK_EVERY = 120.0


@dataclass(frozen=True, slots=True)
class Report:
    """What came to pass in one world."""

    seed: int
    nodes: int
    servers: int
    commands: int
    invocations: int
    seconds: float
    """Simulated."""
    faults: dict[str, int]


def outcome_of(seed: int) -> Report | str:
    """One storm, for pools of processes: its report, or what broke."""
    try:
        return Storm(seed).run()
    except BrokenPromise as broken:
        return str(broken)


class Storm:
    """One world and what happens in it."""

    def __init__(self, seed: int, *, trace: Callable[[str], None] | None = None) -> None:
        self.chance = random.Random(f"storm {seed}")  # noqa: S311
        self.long = self.chance.random() < 0.25
        self.world = World(seed, nodes=self._size(), servers=1 + seed % 2)
        self.world.trace = trace
        self.clock = self.world.clock
        self.length = self.chance.uniform(2400, 4200) if self.long else self.chance.uniform(240, 600)
        self.number = self.chance.randint(31, 34)
        self.halted = False
        self.over = False
        self._troubled_at: dict[str, int] = {}
        self._servers_calm_since = 0

    def _size(self) -> int:
        kind = self.chance.random()
        if kind < 0.68:
            return self.chance.randint(2, 5)
        return self.chance.randint(6, 14) if kind < 0.96 else self.chance.randint(30, 50)

    def run(self) -> Report:
        """The whole of it; raises BrokenPromise."""
        with self.world as world:
            world.ask("CreateDocument", {"Name": STEPS, "Content": STEPS_CONTENT, "DocumentType": "Command"})
            self._plan()
            self._run(self.length)
            self._calm()
            self._settle()
            world.check_ended()
            self._last_command()
            world.check_ended()
            return self._report()

    def _run(self, seconds: float, until: Callable[[], bool] | None = None) -> None:
        """Let time pass, and look around every now and then."""
        end = self.clock.elapsed + round(seconds * SECOND)
        while self.clock.elapsed < end:
            if self.world.run(min(LOOK_EVERY, (end - self.clock.elapsed) / SECOND), until):
                break
            self.world.look()
        self.world.look()

    # --- operators --------------------------------------------------------------------------------

    def _plan(self) -> None:
        for _ in range(self.number):
            self._some_time(self._send)
        for fault, likely, most in self._faults():
            if self.chance.random() < likely:
                for _ in range(self.chance.randint(1, most)):
                    self._some_time(fault)
        if self.chance.random() < 0.45:
            self.world.trouble.wakes_lost = self.chance.choice((0.3, 0.7, 1.0))

    def _some_time(self, function: Callable[[], Any]) -> None:
        self.clock.after(self.chance.uniform(5, self.length), self._now, function)

    def _now(self, function: Callable[[], Any]) -> None:
        if not self.over:
            function()

    def _send(self) -> None:
        if not self.world.living():
            self.clock.after(2, self._now, self._send)
            return
        request = self._command()
        self.world.say(f"send {request}")
        asked = self.world.begin("SendCommand", request)
        if self.chance.random() < 0.04:
            self._die_in_commit()
        asked.then(lambda: self._sent(asked))

    def _sent(self, asked: Coming) -> None:
        if isinstance(asked.outcome, Exception):
            return
        command_id = asked.outcome["Command"]["CommandId"]
        if self.chance.random() < 0.25:
            self.clock.after(self.chance.choice((0.0, 0.5, 5, 30)) * self.chance.random(), self._cancel, command_id)

    def _command(self) -> dict[str, Any]:
        chance = self.chance
        seconds = chance.choice((0.2, 2, 10, 30, 60))
        script = [f"sleep {seconds}", f"fail {chance.choice((0, 0, 0, 20, 60, 100))}"]
        if chance.random() < 0.04:
            script = ["nonsense"]
        limit = chance.choice(("20", "60", "600"))
        request: dict[str, Any] = {
            "DocumentName": chance.choice(("AWS-RunShellScript", "AWS-RunShellScript", STEPS)),
            "Parameters": {"commands": script, "executionTimeout": [limit]},
            "TimeoutSeconds": chance.choice((30, 60, 300, 900, 3600)),
            **self._targets(),
        }
        if chance.random() < 0.7:
            request["MaxConcurrency"] = chance.choice(("1", "2", "3", "10%", "30%", "50%", "100%"))
        if chance.random() < 0.7:
            request["MaxErrors"] = chance.choice(("0", "1", "2", "10%", "50%", "100%"))
        return request

    def _targets(self) -> dict[str, Any]:
        chance, ids = self.chance, self.world.ids
        kind = chance.random()
        if kind < 0.45 and ids:
            return {"InstanceIds": chance.sample(ids, chance.randint(1, min(len(ids), 50)))}
        if kind < 0.7:
            return {"Targets": [{"Key": "tag:Environment", "Values": [chance.choice(("prod", "dev", "nowhere"))]}]}
        if kind < 0.85:
            return {"Targets": [{"Key": "tag:Role", "Values": chance.sample(("web", "db", "edge"), 2)}]}
        return {"Targets": [{"Key": "InstanceIds", "Values": ["*"]}]}

    def _cancel(self, command_id: str) -> None:
        request: dict[str, Any] = {"CommandId": command_id}
        sent_to = [
            row[0]
            for row in self.world.eyes.execute(
                "SELECT node_id FROM run_command_invocations WHERE command_id = ? ORDER BY node_id", (command_id,)
            )
        ]
        if sent_to and self.chance.random() < 0.3:
            request["InstanceIds"] = self.chance.sample(sent_to, self.chance.randint(1, len(sent_to)))
        self.world.say(f"cancel {request}")
        asked = self.world.begin("CancelCommand", request)
        asked.then(lambda: self._cancelled(asked, command_id, request.get("InstanceIds")))

    def _cancelled(self, asked: Coming, command_id: str, node_ids: list[str] | None) -> None:
        if not isinstance(asked.outcome, Exception):
            self.world.happened("cancels")
            self.clock.after(CANCEL_WITHIN, self._was_cancelled, command_id, node_ids, self.clock.elapsed)

    def _was_cancelled(self, command_id: str, node_ids: list[str] | None, since: int) -> None:
        """Some time after a cancel nothing of it may be Pending or InProgress, unless no server was there to do it."""
        if self._servers_calm_since > since:
            self.clock.after(CANCEL_WITHIN, self._was_cancelled, command_id, node_ids, self.clock.elapsed)
            return
        for node_id, status in self.world.eyes.execute(
            "SELECT node_id, status FROM run_command_invocations WHERE command_id = ? AND ended_at IS NULL",
            (command_id,),
        ):
            if node_ids is not None and node_id not in node_ids:
                continue
            if status != "Cancelling":
                self.world.broken(f"command {command_id} was cancelled and is still {status} on {node_id}")
            elif self._well_since(node_id, since) and (command_id, node_id) not in self.world.cancels:
                self.world.broken(f"{node_id} was not told that command {command_id} is cancelled")

    def _well_since(self, node_id: str, since: int) -> bool:
        """Whether nothing has befallen a node, as far as this storm knows."""
        node = next(node for node in self.world.nodes if node.node_id == node_id)
        if node.kind == "polling" or node.socket is None or node.socket.silent or node.link.conditions != Conditions():
            return False
        return max(self._troubled_at.get(node_id, 0), node.connected_at) < since and node.ready

    # --- faults -----------------------------------------------------------------------------------

    def _faults(self) -> list[tuple[Callable[[], None], float, int]]:
        """What may happen, how likely in a world, how often at most."""
        return [
            (self._kill_server, 0.45, 6),
            (self._slow_commits, 0.35, 2),
            (self._late_wakes, 0.35, 3),
            (self._slow_link, 0.4, 6),
            (self._lossy_link, 0.4, 6),
            (self._repeating_link, 0.4, 6),
            (self._cut, 0.45, 6),
            (self._half_open, 0.45, 5),
            (self._outage, 0.4, 4),
            (self._long_outage, 0.9 if self.long else 0.0, 4),
            (self._crash, 0.45, 5),
            (self._busy, 0.4, 4),
            (self._deregister, 0.35, 2),
            (self._halt, 0.3, 1),
        ]

    def _kill_server(self) -> None:
        living = [number for number, server in enumerate(self.world.servers) if server.alive]
        if living:
            number = self.chance.choice(living)
            self.world.happened("server killed")
            self._servers_troubled()
            if self.chance.random() < 0.6:
                self.world.trouble.commit = (0.1, 0.4)
                self.clock.after(2, self._commits_well)
                self.clock.after(1, self._die_before_commit, number)
            else:
                self.world.kill_server(number, quietly=self.chance.random() < 0.3)
            self.clock.after(1.5 + self.chance.choice((0.5, 5, 20, 90)), self._restart, number)

    def _die_before_commit(self, number: int) -> None:
        self.world.servers[number].dies_before_commit = True

    def _die_in_commit(self) -> None:
        number = self.chance.randrange(len(self.world.servers))
        server = self.world.servers[number]
        if server.alive:
            self.world.happened("server killed at a commit")
            self._servers_troubled()
            server.dies_after_commits = self.chance.choice((1, 2, 2, 2, 3, 5, 9))
            self.clock.after(self.chance.choice((5, 20, 90)), self._restart, number)

    def _restart(self, number: int) -> None:
        self._servers_troubled()
        self.world.servers[number].dies_after_commits = None
        self.world.servers[number].dies_before_commit = False
        self.world.start_server(number)

    def _servers_troubled(self) -> None:
        self._servers_calm_since = self.clock.elapsed

    def _slow_commits(self) -> None:
        self.world.happened("slow commits")
        self.world.trouble.commit = (0.02, self.chance.uniform(0.1, 0.9))
        self.clock.after(self.chance.uniform(10, 60), self._commits_well)

    def _commits_well(self) -> None:
        self.world.trouble.commit = (0.001, 0.003)

    def _late_wakes(self) -> None:
        self.world.trouble.wakes_late = self.chance.uniform(3, 10)
        self.clock.after(self.chance.uniform(30, 120), self._wakes_well)

    def _wakes_well(self) -> None:
        self.world.trouble.wakes_late = 0.05

    def _some_nodes(self) -> list[Node]:
        nodes = [node for node in self.world.nodes if node.up and not node.link.conditions.down]
        chosen = self.chance.sample(nodes, min(len(nodes), self.chance.choice((1, 1, 2, 5))))
        self._troubled_at |= {node.node_id: self.clock.elapsed for node in chosen}
        return chosen

    def _bad_link(self, fault: str, **conditions: Any) -> None:
        for node in self._some_nodes():
            if fault:
                self.world.happened(fault)
            node.link.conditions = Conditions(**conditions)
            self.clock.after(self.chance.uniform(20, 150), self._link_well, node, node.link.conditions)

    def _link_well(self, node: Node, unless_changed: Conditions) -> None:
        self._troubled_at[node.node_id] = self.clock.elapsed
        if node.link.conditions is unless_changed:
            node.link.conditions = Conditions()

    def _slow_link(self) -> None:
        self._bad_link("slow links", delay=(0.5, self.chance.uniform(1, 8)))

    def _lossy_link(self) -> None:
        self._bad_link("", loss=self.chance.uniform(0.1, 0.6))

    def _repeating_link(self) -> None:
        self._bad_link("", repeats=self.chance.uniform(0.2, 0.8))

    def _cut(self) -> None:
        for node in self._some_nodes():
            if node.connected:
                self.world.happened("cut links")
                node.link.cut()

    def _half_open(self) -> None:
        for node in self._some_nodes():
            if node.connected:
                self.world.happened("half-open links")
                node.link.fall_silent()
                self.world.notices_silence(node)

    def _outage(self) -> None:
        for node in self._some_nodes():
            self.world.happened("outages")
            self._down(node, self.chance.uniform(10, 240))

    def _down(self, node: Node, seconds: float) -> None:
        node.link.fall_silent()
        node.link.conditions = Conditions(down=True)
        self.world.notices_silence(node)
        self.clock.after(seconds, self._link_well, node, node.link.conditions)

    def _long_outage(self) -> None:
        """A node gets a command and answers, nobody hears it, and then it is away for about its memory's time."""
        nodes = [node for node in self._some_nodes() if node.connected]
        for node in nodes[:1]:
            if not self.world.is_registered(node.node_id):
                continue
            self.world.happened("long outages")
            node.link.conditions = Conditions(answers_lost=1.0)
            request = {
                "DocumentName": "AWS-RunShellScript",
                "InstanceIds": [node.node_id],
                "Parameters": {"commands": ["sleep 5"]},
                "TimeoutSeconds": 7200,
            }
            self.world.begin("SendCommand", request)
            self.clock.after(self.chance.uniform(20, 60), self._down, node, self.chance.uniform(1300, 2700))

    def _crash(self) -> None:
        for node in self._some_nodes():
            self.world.happened("agent killed")
            node.crash()
            self.clock.after(self.chance.choice((0.5, 10, 60, 200)), self._agent_back, node)

    def _agent_back(self, node: Node) -> None:
        self._troubled_at[node.node_id] = self.clock.elapsed
        if not node.up:
            node.start()

    def _busy(self) -> None:
        for node in self._some_nodes():
            node.other_work = self.chance.randint(8, 10)
            self.clock.after(self.chance.uniform(30, 200), self._free, node)

    def _free(self, node: Node) -> None:
        node.other_work = 0

    def _deregister(self) -> None:
        ids = self.world.ids
        if len(ids) < 2:
            return
        node_id = self.chance.choice(ids)
        self.world.say(f"deregister {node_id}")
        asked = self.world.begin("DeregisterManagedInstance", {"InstanceId": node_id})
        asked.then(lambda: self._deregistered(asked, node_id))

    def _deregistered(self, asked: Coming, node_id: str) -> None:
        if not isinstance(asked.outcome, Exception):
            self.world.happened("deregistrations")
            self.clock.after(LEFT_WITHIN, self._has_left, node_id)

    def _has_left(self, node_id: str) -> None:
        for (command_id,) in self.world.eyes.execute(
            "SELECT command_id FROM run_command_invocations WHERE node_id = ? AND ended_at IS NULL", (node_id,)
        ):
            self.world.broken(f"{node_id} is deregistered and command {command_id} still waits for it")

    def _halt(self) -> None:
        self.halted = True
        self.world.happened("halts")
        if self.world.living():
            self.world.do(lambda call: commands.halt(call, "a bad document"))
        self.clock.after(self.chance.uniform(10, 120), self._resume)

    def _resume(self) -> None:
        if not self.world.living():
            self.clock.after(5, self._resume)
            return
        resumed = self.world.do(commands.resume)
        self.clock.after(5, lambda: None if resumed.settled else self._resume())

    # --- afterwards -------------------------------------------------------------------------------

    def _calm(self) -> None:
        """No more faults; but wakes stay as unreliable as they were."""
        self.over = True
        self._commits_well()
        self._wakes_well()
        for number, server in enumerate(self.world.servers):
            server.dies_after_commits = None
            server.dies_before_commit = False
            if not server.alive:
                self.world.start_server(number)
        for node in self.world.nodes:
            node.other_work = 0
            node.link.conditions = Conditions()
            self._agent_back(node)
            if node.socket is not None and node.socket.silent:
                self.world.notices_silence(node)
        if self.halted:
            self._resume()
        (sent,) = self.world.eyes.execute("SELECT count(*) FROM run_command_commands").fetchone()
        for _ in range(FEWEST_COMMANDS - sent):  # in place of those that died with their servers
            self.world.begin("SendCommand", self._command())

    def _settle(self) -> None:
        """Wait until every command has ended, and every node is back and idle."""
        self._run(4 * 3600, self._all_ended)
        self._run(2 * 3600, lambda: all(self._is_back(node) for node in self.world.nodes))
        self.world.run(60)

    def _all_ended(self) -> bool:
        return (
            self.world.eyes.execute(
                "SELECT 1 FROM run_command_commands WHERE status IN ('Pending', 'InProgress', 'Delayed', 'Cancelling')"
                " LIMIT 1"
            ).fetchone()
            is None
        )

    def _is_back(self, node: Node) -> bool:
        if not self.world.is_registered(node.node_id):
            return True
        return node.idle and (node.kind == "polling" or node.connected)

    def _last_command(self) -> None:
        """A calm fleet carries out one command to all, and some at once to a few nodes, in good time.

        However many wakes are lost; and more at once than go to a node at a time.
        """
        common = {"DocumentName": "AWS-RunShellScript", "MaxErrors": "0", "TimeoutSeconds": 900}
        requests: list[dict[str, Any]] = [
            {
                **common,
                "Targets": [{"Key": "InstanceIds", "Values": ["*"]}],
                "Parameters": {"commands": ["sleep 1"]},
                "MaxConcurrency": "50%",
            }
        ]
        if few := self.world.ids[:3]:
            requests += 5 * [{**common, "InstanceIds": few, "Parameters": {"commands": ["sleep 20"]}}]
        sent = [self.world.ask("SendCommand", request)["Command"]["CommandId"] for request in requests]
        if not self.world.run(LAST_COMMAND_WITHIN, self._all_ended):
            self.world.broken(f"the last commands did not end within {LAST_COMMAND_WITHIN} s")
        for command_id in sent:
            for node_id, status in self.world.eyes.execute(
                "SELECT node_id, status FROM run_command_invocations WHERE command_id = ?", (command_id,)
            ):
                if status not in ("Success", "InvalidPlatform"):
                    self.world.broken(f"a last command is {status} on {node_id}, which is well")
        self.world.run(5)

    def _report(self) -> Report:
        world = self.world
        (sent,) = world.eyes.execute("SELECT count(*) FROM run_command_commands").fetchone()
        (invocations,) = world.eyes.execute("SELECT count(*) FROM run_command_invocations").fetchone()
        return Report(
            seed=world.seed,
            nodes=len(world.nodes),
            servers=len(world.servers),
            commands=sent,
            invocations=invocations,
            seconds=self.clock.elapsed / SECOND,
            faults=dict(world.faults),
        )
