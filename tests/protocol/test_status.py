"""The tables of states, pair by pair, and the rules of rate control."""

from __future__ import annotations

from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.protocol.status import (
    INVOCATION_TRANSITIONS,
    CommandStatus,
    DocumentStatus,
    InvocationStatus,
    StepStatus,
    advance,
    coarse,
    counts_as_error,
    from_document_status,
    from_step_status,
    is_terminal,
    release_count,
    resolve_share,
    roll_up_command,
    roll_up_steps,
)

OPEN = {"Pending", "InProgress", "Delayed", "Cancelling"}
RESULTS = "Success Failed ExecutionTimedOut Cancelled DeliveryTimedOut Undeliverable"
NOT_STARTED = "Terminated InvalidPlatform AccessDenied"
FOLLOWERS = {
    "Pending": f"Delayed InProgress Cancelling {RESULTS} {NOT_STARTED}",
    "Delayed": f"Pending InProgress Cancelling {RESULTS} {NOT_STARTED}",
    "InProgress": f"Cancelling {RESULTS}",
    "Cancelling": RESULTS,
}


@pytest.mark.parametrize(("current", "new"), list(product(InvocationStatus, InvocationStatus)))
def test_an_invocation_moves_only_along_the_table(current: InvocationStatus, new: InvocationStatus) -> None:
    assert advance(current, new) == (new.value in FOLLOWERS.get(current.value, "").split())


def test_nothing_follows_a_terminal_state_and_every_open_one_can_end() -> None:
    assert set(INVOCATION_TRANSITIONS) == set(InvocationStatus)
    for status, followers in INVOCATION_TRANSITIONS.items():
        assert is_terminal(status) == (status.value not in OPEN) == (not followers)
        assert is_terminal(status) or any(is_terminal(follower) for follower in followers)


@given(st.lists(st.sampled_from(InvocationStatus)))
def test_news_in_any_order_never_leaves_a_terminal_state_nor_returns_from_cancelling(
    news: list[InvocationStatus],
) -> None:
    current, ended, cancelling = InvocationStatus.PENDING, None, False
    for new in news:
        if advance(current, new):
            current = new
        if ended is not None:
            assert current is ended
        if cancelling:
            assert is_terminal(current) or current is InvocationStatus.CANCELLING
        ended = current if is_terminal(current) else None
        cancelling = cancelling or current is InvocationStatus.CANCELLING


COARSE = {
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
    "Incomplete": "Failed",
    "RateExceeded": "Failed",
    "NoInstancesInTag": "Success",
}


@pytest.mark.parametrize("status", [*InvocationStatus, *CommandStatus], ids=lambda s: f"{type(s).__name__}-{s}")
def test_every_detail_has_its_coarse_status(status: InvocationStatus | CommandStatus) -> None:
    expected = "InProgress" if status is CommandStatus.DELAYED else COARSE[status]
    assert coarse(status) == expected
    assert is_terminal(status) == (status.value not in OPEN)


def test_only_what_failed_on_the_node_counts_as_error() -> None:
    assert {status.value for status in InvocationStatus if counts_as_error(status)} == {"Failed", "ExecutionTimedOut"}


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("InProgress", "InProgress"),
        ("Success", "Success"),
        ("Failed", "Failed"),
        ("TimedOut", "ExecutionTimedOut"),
        ("Cancelled", "Cancelled"),
        ("SuccessAndReboot", "InProgress"),
    ],
)
def test_a_document_status_becomes_an_invocation_status(said: str, means: str) -> None:
    assert from_document_status(said) is InvocationStatus(means)


def test_every_word_of_agents_is_understood_and_no_other() -> None:
    for document_status in DocumentStatus:
        from_document_status(document_status)
    shown = {step_status.value: from_step_status(step_status).value for step_status in StepStatus}
    assert shown == {
        "NotStarted": "Pending",
        "InProgress": "InProgress",
        "Success": "Success",
        "SuccessAndReboot": "InProgress",
        "PassedAndReboot": "InProgress",
        "Failed": "Failed",
        "TimedOut": "ExecutionTimedOut",
        "Cancelled": "Cancelled",
        "Skipped": "Success",
    }
    for convert in (from_document_status, from_step_status):
        with pytest.raises(ValueError, match="Done"):
            convert("Done")


STEP_RANK = [
    ({"SuccessAndReboot", "PassedAndReboot"}, "SuccessAndReboot"),
    ({"Failed"}, "Failed"),
    ({"TimedOut"}, "TimedOut"),
    ({"Cancelled"}, "Cancelled"),
    ({"NotStarted", "InProgress"}, "InProgress"),
    ({"Success", "Skipped"}, "Success"),
]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_steps_roll_up_to_the_worst_of_them(size: int) -> None:
    for steps in combinations(StepStatus, size):
        expected = next(result for statuses, result in STEP_RANK if statuses & {step.value for step in steps})
        assert roll_up_steps(list(steps)) is DocumentStatus(expected), steps


def test_no_steps_are_no_success() -> None:
    assert roll_up_steps([]) is DocumentStatus.IN_PROGRESS


I = InvocationStatus  # noqa: E741


@pytest.mark.parametrize(
    ("counts", "cancelled", "max_errors", "expected"),
    [
        ({I.PENDING: 2}, False, 0, "Pending"),
        ({I.PENDING: 1, I.SUCCESS: 1}, False, 0, "InProgress"),
        ({I.IN_PROGRESS: 1, I.FAILED: 9}, False, 0, "InProgress"),
        ({I.DELAYED: 1, I.SUCCESS: 1}, False, 0, "Delayed"),
        ({I.DELAYED: 1, I.IN_PROGRESS: 1}, False, 0, "InProgress"),
        ({I.CANCELLING: 1}, True, 0, "Cancelling"),
        ({I.SUCCESS: 1, I.CANCELLED: 1}, True, 0, "Cancelled"),
        ({I.FAILED: 5}, True, 0, "Cancelled"),
        ({}, False, 0, "NoInstancesInTag"),
        ({I.SUCCESS: 0}, False, 0, "NoInstancesInTag"),
        ({}, True, 0, "Cancelled"),
        ({I.SUCCESS: 3}, False, 0, "Success"),
        ({I.SUCCESS: 3, I.FAILED: 1}, False, 0, "Failed"),
        ({I.SUCCESS: 3, I.FAILED: 1}, False, 1, "Incomplete"),
        ({I.SUCCESS: 3, I.FAILED: 1, I.EXECUTION_TIMED_OUT: 1}, False, 1, "Failed"),
        ({I.SUCCESS: 3, I.EXECUTION_TIMED_OUT: 2}, False, 1, "ExecutionTimedOut"),
        ({I.FAILED: 1, I.TERMINATED: 7}, False, 0, "Failed"),
        ({I.DELIVERY_TIMED_OUT: 2}, False, 0, "DeliveryTimedOut"),
        ({I.DELIVERY_TIMED_OUT: 2, I.SUCCESS: 1}, False, 0, "Incomplete"),
        ({I.UNDELIVERABLE: 1, I.INVALID_PLATFORM: 1}, False, 5, "Failed"),
        ({I.UNDELIVERABLE: 1}, False, 5, "Failed"),
        ({I.ACCESS_DENIED: 1}, False, 5, "AccessDenied"),
        ({I.SUCCESS: 1, I.UNDELIVERABLE: 1, I.ACCESS_DENIED: 1, I.INVALID_PLATFORM: 1}, False, 0, "Success"),
        ({I.CANCELLED: 2}, False, 0, "Cancelled"),
        ({I.CANCELLED: 2, I.SUCCESS: 1}, False, 0, "Incomplete"),
    ],
)
def test_invocations_roll_up_in_the_documented_order(
    counts: dict[InvocationStatus, int], cancelled: bool, max_errors: int, expected: str
) -> None:
    assert roll_up_command(counts, cancelled=cancelled, max_errors=max_errors) is CommandStatus(expected)


@given(st.dictionaries(st.sampled_from(InvocationStatus), st.integers(0, 5)), st.booleans(), st.integers(0, 6))
def test_a_command_ends_exactly_when_its_invocations_have(
    counts: dict[InvocationStatus, int], cancelled: bool, max_errors: int
) -> None:
    unfinished = any(count for status, count in counts.items() if not is_terminal(status))
    assert is_terminal(roll_up_command(counts, cancelled=cancelled, max_errors=max_errors)) == (not unfinished)
    still = roll_up_command(counts, cancelled=cancelled, max_errors=max_errors, targets_resolved=False)
    assert not is_terminal(still)


@pytest.mark.parametrize(
    ("expression", "targets", "minimum", "nodes"),
    [
        ("50", 3, 1, 50),
        ("10%", 50, 0, 5),
        ("10%", 9, 1, 1),
        ("10%", 9, 0, 0),
        ("10%", 19, 1, 1),
        ("100%", 7, 1, 7),
        ("0", 7, 0, 0),
        ("0%", 7, 0, 0),
        ("33%", 100, 1, 33),
        ("10%", 0, 1, 1),
    ],
)
def test_shares_round_down_to_no_less_than_the_minimum(expression: str, targets: int, minimum: int, nodes: int) -> None:
    assert resolve_share(expression, targets, minimum=minimum) == nodes


@pytest.mark.parametrize("expression", ["", "-1", "101%", "05", "5 %", "1.5", "%", "5%%", "٥", "5\n"])
def test_other_shares_are_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="whole number"):
        resolve_share(expression, 10)


counts_of_nodes = st.integers(0, 1000)


@given(counts_of_nodes, counts_of_nodes, counts_of_nodes, st.integers(1, 100), counts_of_nodes)
def test_release_never_exceeds_concurrency_nor_follows_too_many_errors(
    waiting: int, running: int, errors: int, concurrency: int, max_errors: int
) -> None:
    released = release_count(waiting, running, errors, concurrency, max_errors)
    assert 0 <= released <= waiting
    assert released == 0 or running + released <= concurrency
    assert released == 0 or errors <= max_errors
    if waiting and running < concurrency and errors <= max_errors:
        assert released > 0


def test_release_stops_after_error_number_max_errors_plus_one() -> None:
    max_errors = resolve_share("10%", 50)
    sent = errors = 0
    while release_count(50 - sent, 0, errors, 1, max_errors):
        sent += 1
        errors += 1
    assert sent == 6
