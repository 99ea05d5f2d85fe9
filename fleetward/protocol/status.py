"""The states of commands, invocations and steps: which exist, which may follow which, how many become one.

Pure tables and functions: the server and the agent ask here and nowhere else what a state means.
"Detail" is what AWS calls StatusDetails; "coarse" is the shorter Status shown beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum


class InvocationStatus(StrEnum):
    """StatusDetails of one command on one node, and of one step there (API guide, "Understanding command statuses")."""

    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    DELAYED = "Delayed"
    SUCCESS = "Success"
    DELIVERY_TIMED_OUT = "DeliveryTimedOut"
    EXECUTION_TIMED_OUT = "ExecutionTimedOut"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    CANCELLING = "Cancelling"
    UNDELIVERABLE = "Undeliverable"
    TERMINATED = "Terminated"
    INVALID_PLATFORM = "InvalidPlatform"
    ACCESS_DENIED = "AccessDenied"


class CommandStatus(StrEnum):
    """StatusDetails of a whole command."""

    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    DELAYED = "Delayed"
    SUCCESS = "Success"
    DELIVERY_TIMED_OUT = "DeliveryTimedOut"
    EXECUTION_TIMED_OUT = "ExecutionTimedOut"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    CANCELLING = "Cancelling"
    ACCESS_DENIED = "AccessDenied"
    INCOMPLETE = "Incomplete"
    RATE_EXCEEDED = "RateExceeded"
    NO_INSTANCES_IN_TAG = "NoInstancesInTag"


class StepStatus(StrEnum):
    """What an agent says of one step (`runtimeStatus.*.status`)."""

    NOT_STARTED = "NotStarted"
    IN_PROGRESS = "InProgress"
    SUCCESS = "Success"
    SUCCESS_AND_REBOOT = "SuccessAndReboot"
    PASSED_AND_REBOOT = "PassedAndReboot"
    FAILED = "Failed"
    TIMED_OUT = "TimedOut"
    CANCELLED = "Cancelled"
    SKIPPED = "Skipped"


class DocumentStatus(StrEnum):
    """What an agent says of the whole document (`documentStatus`)."""

    IN_PROGRESS = "InProgress"
    SUCCESS = "Success"
    FAILED = "Failed"
    TIMED_OUT = "TimedOut"
    CANCELLED = "Cancelled"
    SUCCESS_AND_REBOOT = "SuccessAndReboot"


_OPEN = frozenset({"Pending", "InProgress", "Delayed", "Cancelling"})
_UNREACHED = frozenset(
    {InvocationStatus.UNDELIVERABLE, InvocationStatus.INVALID_PLATFORM, InvocationStatus.ACCESS_DENIED}
)
_ERRORS = frozenset({InvocationStatus.FAILED, InvocationStatus.EXECUTION_TIMED_OUT})
_RESULTS = frozenset(
    {
        InvocationStatus.SUCCESS,
        InvocationStatus.FAILED,
        InvocationStatus.EXECUTION_TIMED_OUT,
        InvocationStatus.CANCELLED,
        InvocationStatus.DELIVERY_TIMED_OUT,
        InvocationStatus.UNDELIVERABLE,
    }
)
_NEVER_STARTED = frozenset(
    {InvocationStatus.TERMINATED, InvocationStatus.INVALID_PLATFORM, InvocationStatus.ACCESS_DENIED}
)

# Replies overtake each other, so any open state may jump straight to a result.
INVOCATION_TRANSITIONS: Mapping[InvocationStatus, frozenset[InvocationStatus]] = {
    InvocationStatus.PENDING: _RESULTS
    | _NEVER_STARTED
    | {InvocationStatus.DELAYED, InvocationStatus.IN_PROGRESS, InvocationStatus.CANCELLING},
    InvocationStatus.DELAYED: _RESULTS
    | _NEVER_STARTED
    | {InvocationStatus.PENDING, InvocationStatus.IN_PROGRESS, InvocationStatus.CANCELLING},
    InvocationStatus.IN_PROGRESS: _RESULTS | {InvocationStatus.CANCELLING},
    InvocationStatus.CANCELLING: _RESULTS,
    **{status: frozenset() for status in InvocationStatus if status not in _OPEN},
}

_COARSE: Mapping[str, str] = {
    "Pending": "Pending",
    "InProgress": "InProgress",
    "Delayed": "Delayed",
    "Success": "Success",
    "DeliveryTimedOut": "TimedOut",
    "ExecutionTimedOut": "TimedOut",
    "Failed": "Failed",
    "Cancelled": "Cancelled",
    "Cancelling": "Cancelling",
    "Undeliverable": "Failed",
    "Terminated": "Cancelled",
    "InvalidPlatform": "Failed",
    "AccessDenied": "Failed",
    "Incomplete": "Failed",  # Ours: the coarse enum has no better value
    "RateExceeded": "Failed",
    "NoInstancesInTag": "Success",
}

_FROM_DOCUMENT: Mapping[DocumentStatus, InvocationStatus] = {
    DocumentStatus.IN_PROGRESS: InvocationStatus.IN_PROGRESS,
    DocumentStatus.SUCCESS: InvocationStatus.SUCCESS,
    DocumentStatus.FAILED: InvocationStatus.FAILED,
    DocumentStatus.TIMED_OUT: InvocationStatus.EXECUTION_TIMED_OUT,
    DocumentStatus.CANCELLED: InvocationStatus.CANCELLED,
    DocumentStatus.SUCCESS_AND_REBOOT: InvocationStatus.IN_PROGRESS,  # the node comes back and goes on
}

_FROM_STEP: Mapping[StepStatus, InvocationStatus] = {
    StepStatus.NOT_STARTED: InvocationStatus.PENDING,
    StepStatus.IN_PROGRESS: InvocationStatus.IN_PROGRESS,
    StepStatus.SUCCESS: InvocationStatus.SUCCESS,
    StepStatus.SUCCESS_AND_REBOOT: InvocationStatus.IN_PROGRESS,
    StepStatus.PASSED_AND_REBOOT: InvocationStatus.IN_PROGRESS,
    StepStatus.FAILED: InvocationStatus.FAILED,
    StepStatus.TIMED_OUT: InvocationStatus.EXECUTION_TIMED_OUT,
    StepStatus.CANCELLED: InvocationStatus.CANCELLED,
    StepStatus.SKIPPED: InvocationStatus.SUCCESS,  # the API has no Skipped; it counts as success
}

_STEP_PRECEDENCE: tuple[tuple[frozenset[StepStatus], DocumentStatus], ...] = (
    (frozenset({StepStatus.SUCCESS_AND_REBOOT, StepStatus.PASSED_AND_REBOOT}), DocumentStatus.SUCCESS_AND_REBOOT),
    (frozenset({StepStatus.FAILED}), DocumentStatus.FAILED),
    (frozenset({StepStatus.TIMED_OUT}), DocumentStatus.TIMED_OUT),
    (frozenset({StepStatus.CANCELLED}), DocumentStatus.CANCELLED),
)

_SHARE = re.compile(r"(?P<number>0|[1-9][0-9]*)|(?P<percent>100|[1-9]?[0-9])%")


def coarse(detail: InvocationStatus | CommandStatus) -> str:
    """The Status AWS shows beside a StatusDetails value; a Delayed command still counts as InProgress."""
    if detail is CommandStatus.DELAYED:
        return "InProgress"
    return _COARSE[detail]


def is_terminal(detail: InvocationStatus | CommandStatus) -> bool:
    """Whether nothing can follow this state."""
    return detail not in _OPEN


def counts_as_error(detail: InvocationStatus) -> bool:
    """Whether it counts towards MaxErrors: only what a node itself failed at, not what never reached it."""
    return detail in _ERRORS


def advance(current: InvocationStatus, new: InvocationStatus) -> bool:
    """Whether news may replace the recorded state; False for repeats, late InProgress and anything after the end."""
    return new in INVOCATION_TRANSITIONS[current]


def from_document_status(status: DocumentStatus | str) -> InvocationStatus:
    """The invocation state an agent's `documentStatus` stands for; ValueError for a word no agent uses."""
    return _FROM_DOCUMENT[DocumentStatus(status)]


def from_step_status(status: StepStatus | str) -> InvocationStatus:
    """The CommandPlugin state a step's `status` stands for; ValueError for a word no agent uses."""
    return _FROM_STEP[StepStatus(status)]


def roll_up_steps(steps: Iterable[StepStatus]) -> DocumentStatus:
    """The document's state from its steps': reboot before Failed before TimedOut before Cancelled before Success.

    InProgress while a step has no result yet, and for no steps at all.
    """
    seen = frozenset(steps)
    for statuses, result in _STEP_PRECEDENCE:
        if seen & statuses:
            return result
    if seen and seen <= {StepStatus.SUCCESS, StepStatus.SKIPPED}:
        return DocumentStatus.SUCCESS
    return DocumentStatus.IN_PROGRESS


def roll_up_command(
    counts: Mapping[InvocationStatus, int],
    *,
    cancelled: bool,
    max_errors: int,
    targets_resolved: bool = True,
) -> CommandStatus:
    """A command's StatusDetails from how many of its invocations are in each state.

    `cancelled`: an operator cancelled the whole command before it ended. `max_errors` is a number of nodes
    (see `resolve_share`). `targets_resolved` is False until every invocation has been made.
    """
    present = {status for status, count in counts.items() if count > 0}
    if not targets_resolved or any(not is_terminal(status) for status in present):
        return _roll_up_open(present, cancelled=cancelled, targets_resolved=targets_resolved)
    if not present:
        return CommandStatus.CANCELLED if cancelled else CommandStatus.NO_INSTANCES_IN_TAG
    if cancelled:
        return CommandStatus.CANCELLED
    if sum(counts.get(status, 0) for status in _ERRORS) > max_errors:
        return CommandStatus.FAILED if InvocationStatus.FAILED in present else CommandStatus.EXECUTION_TIMED_OUT
    return _roll_up_tolerated(present)


def _roll_up_open(present: set[InvocationStatus], *, cancelled: bool, targets_resolved: bool) -> CommandStatus:
    if cancelled:
        return CommandStatus.CANCELLING
    if present <= {InvocationStatus.PENDING}:
        return CommandStatus.PENDING
    if targets_resolved and {status for status in present if not is_terminal(status)} == {InvocationStatus.DELAYED}:
        return CommandStatus.DELAYED
    return CommandStatus.IN_PROGRESS


def _roll_up_tolerated(present: set[InvocationStatus]) -> CommandStatus:
    """The end of a command whose errors stayed within MaxErrors."""
    if len(present) == 1:
        (only,) = present
        if only in (
            InvocationStatus.SUCCESS,
            InvocationStatus.DELIVERY_TIMED_OUT,
            InvocationStatus.CANCELLED,
            InvocationStatus.ACCESS_DENIED,
        ):
            return CommandStatus(only.value)  # Ours, but for Success: what happened everywhere is what happened
    if present <= _UNREACHED:
        return CommandStatus.FAILED
    if present <= _UNREACHED | {InvocationStatus.SUCCESS}:
        return CommandStatus.SUCCESS
    return CommandStatus.INCOMPLETE


def resolve_share(expression: str, target_count: int, *, minimum: int = 0) -> int:
    """Nodes meant by "5" or "10%" of `target_count`; percentages round down, and never give less than `minimum`.

    MaxConcurrency wants `minimum=1`, MaxErrors 0. ValueError for anything but a whole number or 0-100 %.
    """
    match = _SHARE.fullmatch(expression)
    if match is None:
        raise ValueError(f"{expression!r} is neither a whole number nor a percentage from 0% to 100%")
    if match["percent"] is not None:
        return max(minimum, target_count * int(match["percent"]) // 100)
    return max(minimum, int(match["number"]))


def release_count(waiting: int, running: int, errors: int, concurrency: int, max_errors: int) -> int:
    """How many waiting nodes to release now: none after error number `max_errors` + 1, else up to `concurrency`."""
    if errors > max_errors:
        return 0
    return max(0, min(waiting, concurrency - running))


class SessionStatus(StrEnum):
    """Status of one session (API reference, Session: Status)."""

    CONNECTING = "Connecting"
    CONNECTED = "Connected"
    DISCONNECTED = "Disconnected"
    TERMINATING = "Terminating"
    TERMINATED = "Terminated"
    FAILED = "Failed"


_SESSION_ENDS = frozenset({SessionStatus.TERMINATED, SessionStatus.FAILED})

SESSION_TRANSITIONS: Mapping[SessionStatus, frozenset[SessionStatus]] = {
    SessionStatus.CONNECTING: _SESSION_ENDS
    | {SessionStatus.CONNECTED, SessionStatus.DISCONNECTED, SessionStatus.TERMINATING},
    SessionStatus.CONNECTED: _SESSION_ENDS | {SessionStatus.DISCONNECTED, SessionStatus.TERMINATING},
    SessionStatus.DISCONNECTED: _SESSION_ENDS | {SessionStatus.CONNECTED, SessionStatus.TERMINATING},
    SessionStatus.TERMINATING: _SESSION_ENDS,
    SessionStatus.TERMINATED: frozenset(),
    SessionStatus.FAILED: frozenset(),
}

ACTIVE_SESSIONS = (SessionStatus.CONNECTED, SessionStatus.CONNECTING, SessionStatus.DISCONNECTED)
"""What DescribeSessions lists under `Active`; the others are its `History`."""


def session_advances(current: SessionStatus, new: SessionStatus) -> bool:
    """Whether a session may pass to this state; False for repeats and for anything after its end."""
    return new in SESSION_TRANSITIONS[current]
