"""Service: registers operations, replies, reactions, timers, jobs and messages; Runner: runs one entry or a batch.

An entry is a plain function `(call, input) -> output` in one transaction. An error that it raises undoes what it did;
one that it returns is answered alike and leaves it done (a wrong code, counted against the next tries). A batch entry
(`together > 1`) gets what arrived together, `(call, [Sent]) -> [output]`; when it fails, its members run one by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, Executable

from fleetward.server.call import ANY, Call, Context, Resource, Sent, service_context
from fleetward.server.db import Db
from fleetward.server.effects import Outside
from fleetward.server.errors import AccessDeniedException, AwsError, ValidationException
from fleetward.server.iam.context import Conditions
from fleetward.server.keys import KeyRing
from fleetward.server.ports import Body, Bus, Clock, Outcome, Store, Unit
from fleetward.server.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])
Resources = Callable[[Call, Any], Iterable[Resource]]
RequestConditions = Callable[[Call, Any], Conditions]
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Wait:
    """An entry's way to say: ask me again when `topic` wakes, or at `until`."""

    topic: str
    until: datetime


@dataclass(eq=False, slots=True)
class Entry:
    """One registered function and how it runs."""

    name: str
    function: Callable[..., Any]
    action: str = ""
    """IAM action, `ssm:SendCommand`; empty for entries nobody calls from outside."""
    resources: Resources | None = None
    conditions: RequestConditions | None = None
    """Condition keys that a request gives: tags it asks for, the kind of document …"""
    resource_policies: bool = False
    """Its resources carry policies that may grant what the caller's own do not: decided when they are known."""
    reads: bool = False
    together: int = 1
    audience: str = "operator"
    """Who may call it: operator, node, both, anyone (no signature)."""
    signature: str = "hmac"
    """hmac or rsa (the node's own key)."""
    grows: bool = False
    """Refused while the disk is nearly full."""
    audit: bool = False
    audit_nodes: bool = True
    """Where `audit` is set: whether nodes' calls are audited too; not those that change no trust."""


@dataclass(frozen=True, slots=True)
class Timer:
    """An entry that time starts, in each tenant that `due` names, under a lease."""

    name: str
    every: timedelta
    entry: Entry
    due: Executable | None
    """Statement of (account_id, region) with something due at `:now`; None: once for the whole store."""


@dataclass(slots=True)
class Service:
    """One API service: its operations and everything else that its capabilities register, as plain dicts."""

    name: str
    fault: type[AwsError] = ValidationException
    """What a request that breaks a constraint of the model is answered with."""
    operations: dict[str, Entry] = field(default_factory=dict)
    replies: dict[str, Entry] = field(default_factory=dict)
    reactions: dict[type, list[Callable[[Call, Any], None]]] = field(default_factory=lambda: defaultdict(list))
    timers: list[Timer] = field(default_factory=list)
    jobs: dict[str, Entry] = field(default_factory=dict)
    messages: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def operation(
        self,
        name: str,
        *,
        resources: Resources | None = None,
        conditions: RequestConditions | None = None,
        resource_policies: bool = False,
        action: str = "",
        reads: bool = False,
        together: int = 1,
        audience: str = "operator",
        signature: str = "hmac",
        grows: bool = False,
        audit: bool | None = None,
        audit_nodes: bool = True,
    ) -> Callable[[F], F]:
        """Register the function that answers a caller. Without `resources` the action has no resource type."""

        def register(function: F) -> F:
            self.operations[name] = Entry(
                name=f"{self.name}:{name}",
                function=function,
                action=action or f"{self.name}:{name}",
                resources=resources,
                conditions=conditions,
                resource_policies=resource_policies,
                reads=reads,
                together=together,
                audience=audience,
                signature=signature,
                grows=grows,
                audit=(not reads and audience != "node") if audit is None else audit,
                audit_nodes=audit_nodes,
            )
            return function

        return register

    def reply(self, topic: str) -> Callable[[F], F]:
        """Register the batch entry that takes what nodes report under `topic`."""

        def register(function: F) -> F:
            self.replies[topic] = Entry(f"reply {topic}", function, together=BATCH, audit=False)
            return function

        return register

    def reaction(self, event: type) -> Callable[[F], F]:
        """Register what happens, in the same transaction, when another capability emits `event`."""

        def register(function: F) -> F:
            self.reactions[event].append(function)
            return function

        return register

    def timer(self, *, every: timedelta, due: Executable | None = None) -> Callable[[F], F]:
        """Register what time starts: in each tenant that `due` names, or once for the store."""

        def register(function: F) -> F:
            name = f"{self.name}.{function.__module__.rpartition('.')[2]}.{function.__name__}"  # its lease is by name
            self.timers.append(Timer(name, every, Entry(f"timer {name}", function, audit=False), due))
            return function

        return register

    def job(self, kind: str) -> Callable[[F], F]:
        """Register the entry that moves jobs of `kind` forward."""

        def register(function: F) -> F:
            self.jobs[kind] = Entry(f"job {kind}", function, audit=False)
            return function

        return register

    def message(self, kind: str) -> Callable[[F], F]:
        """Register the function that renders a mailbox reference of `kind` when it is sent."""

        def register(function: F) -> F:
            self.messages[kind] = function
            return function

        return register


@dataclass(slots=True)
class Finished:
    """An entry's output and the topics to wake once it is committed."""

    output: Any
    wakes: Sequence[str] = ()


class Runner:
    """Runs entries on the store, their reactions and audit with them, and wakes whom they woke after the commit."""

    def __init__(
        self, *, store: Store, bus: Bus, clock: Clock, keys: KeyRing, settings: Settings, services: Sequence[Service]
    ) -> None:
        self.store = store
        self.bus = bus
        self.clock = clock
        self.keys = keys
        self.settings = settings
        self.services = {service.name: service for service in services}
        self.record: Callable[[Call, Entry, Any, AwsError | None], None] | None = None
        self._bodies: dict[Entry, Body] = {}
        self._reactions: dict[type, list[Callable[[Call, Any], None]]] = defaultdict(list)
        for service in services:
            for event, functions in service.reactions.items():
                self._reactions[event] += functions

    def submit(self, entry: Entry, context: Context, request: Any, done: Callable[[Outcome], None]) -> None:
        """Run `entry`; `done` gets its output, a Wait, or the exception, after the commit and from any thread."""
        body = self._bodies.get(entry)
        if body is None:
            body = self._bodies[entry] = self._single(entry) if entry.together == 1 else self._batch(entry)
        unit = Unit(body, Sent(context, request), done, entry.together)
        (self.store.read if entry.reads else self.store.write)(unit)

    def delivered(self, finished: Sequence[tuple[Callable[[Outcome], None], Outcome]]) -> list[tuple[Any, Any]]:
        """Publish the wakes of a group commit and unwrap its outputs; the store's `deliver` goes through here."""
        wakes: dict[str, None] = {}
        told = []
        for done, outcome in finished:
            if isinstance(outcome, Finished):
                wakes.update(dict.fromkeys(outcome.wakes))
                outcome = outcome.output
            told.append((done, outcome))
        if wakes:
            self.bus.publish(list(wakes))
        return told

    def call(self, context: Context, connection: Connection) -> Call:
        """A Call on `connection` at the present time."""
        return Call(context, now=self.clock.now(), db=Db(connection), settings=self.settings, keys=self.keys)

    def _single(self, entry: Entry) -> Callable[[Connection, Sequence[Any]], Sequence[Outcome]]:
        def body(connection: Connection, members: Sequence[Sent]) -> Sequence[Outcome]:
            (context, request), *_ = members
            call = self.call(context, connection)
            _authorize(call, entry, request)
            output = entry.function(call, request) if request is not None else entry.function(call)
            self.react(call)
            if isinstance(output, (Wait, Outside)):
                return [output]
            if self.record is not None and entry.audit and (entry.audit_nodes or context.caller.kind != "node"):
                self.record(call, entry, request, output if isinstance(output, AwsError) else None)
            return [Finished(output, call.wakes)]

        body.__qualname__ = entry.name
        return body

    def _batch(self, entry: Entry) -> Callable[[Connection, Sequence[Any]], Sequence[Outcome]]:
        def body(connection: Connection, members: Sequence[Sent]) -> Sequence[Outcome]:
            outcomes: list[Outcome] = [None] * len(members)
            tenants: dict[tuple[str, str], list[int]] = defaultdict(list)
            for index, member in enumerate(members):
                tenants[member.context.account, member.context.region].append(index)
            for (account, region), indexes in tenants.items():
                call = self.call(service_context(account, region), connection)
                allowed = []
                for index in indexes:
                    try:
                        if entry.action:
                            _authorize(self.call(members[index].context, connection), entry, members[index].request)
                        allowed.append(index)
                    except AwsError as fault:
                        outcomes[index] = fault
                if not allowed:
                    continue
                outputs = entry.function(call, [members[index] for index in allowed])
                self.react(call)
                for index, output in zip(allowed, outputs, strict=True):
                    outcomes[index] = output if isinstance(output, Exception) else Finished(output)
                carrier = next((outcome for outcome in outcomes if isinstance(outcome, Finished)), None)
                if carrier is not None:
                    carrier.wakes = [*carrier.wakes, *call.wakes]
            return outcomes

        body.__qualname__ = entry.name
        return body

    def react(self, call: Call) -> None:
        """Run the reactions to all that was emitted, and to what they emit, in order."""
        for event in call.events:  # grows while it runs
            for function in self._reactions.get(type(event), ()):
                function(call, event)
        call.events.clear()


def nobody_is_denied(call: Call, request: Any) -> Iterable[Resource]:
    """`resources` of an operation that no policy can take away: what else it asks for is its own matter."""
    return ()


def decides_itself(call: Call, request: Any) -> Iterable[Resource]:
    """For `resources`: the operation asks `call.authorize` itself, once it knows which action and resource it is."""
    return ()


def _authorize(call: Call, entry: Entry, request: Any) -> None:
    if not entry.action or call.caller.kind == "service":
        return
    check_audience(entry, call.caller.kind)
    if entry.resources is nobody_is_denied or entry.resources is decides_itself:
        return
    if call.caller.policies is None and not entry.resource_policies:
        return
    try:
        conditions = entry.conditions(call, request) if entry.conditions is not None else None
        resources = entry.resources(call, request) if entry.resources is not None else ANY
        decided = False
        for resource in resources:
            call.authorize(entry.action, resource, conditions)
            decided = True
        if not decided:
            call.authorize(entry.action, ANY[0], conditions)
    except AccessDeniedException:
        raise
    except AwsError:  # what is wrong with the resource is told to those who may do this somewhere
        if not entry.resource_policies:
            call.authorize_somewhere(entry.action)
        raise


def check_audience(entry: Entry, kind: str) -> None:
    """Refuse operators' calls to nodes, nodes' to operators and strangers' to both, whatever policies say."""
    if kind == "anonymous" and entry.audience != "anyone":
        raise AccessDeniedException(f"{entry.action} cannot be called without a signature")
    if entry.audience in ("anyone", "both") or (kind == "node") == (entry.audience == "node"):
        return
    who = "a managed node" if kind == "node" else "an operator"
    raise AccessDeniedException(f"{entry.action} cannot be called by {who}")
