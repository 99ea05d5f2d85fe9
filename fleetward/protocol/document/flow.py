"""Decide what follows each step of a document: go on, skip the rest, or reboot and repeat.

A failed step does not stop those after it. A script ends the document early by exit code (168 well, 169 badly), its
author by `onFailure: exit | successAndExit` and `onSuccess: exit`; a `finallyStep` runs all the same (AP 10.1).

    flow = Flow(plan(...), "Linux")
    while (step := flow.next()) is not None:
        decision = flow.after(step, outcome of running, skipping or failing it)
    flow.document_status()

A Flow holds nothing that its outcomes do not say: after a restart make a new one and repeat the recorded `after`s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleetward.protocol.document.plan import PlannedStep, PlatformType
from fleetward.protocol.status import DocumentStatus, StepStatus, roll_up_steps

EXIT_WITH_SUCCESS = 168
EXIT_WITH_FAILURE = 169
REBOOT = 194
REBOOT_ON_WINDOWS = 3010

_REBOOTS = frozenset({StepStatus.SUCCESS_AND_REBOOT, StepStatus.PASSED_AND_REBOOT})
_FAILURES = frozenset({StepStatus.FAILED, StepStatus.TIMED_OUT})
_BY_EXIT_CODE = frozenset({StepStatus.SUCCESS, StepStatus.FAILED})


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """How a step went, as its plugin saw it."""

    status: StepStatus
    exit_code: int


@dataclass(frozen=True, slots=True)
class Continue:
    """The next step is due. `status` and `exit_code` are what to report of this one."""

    status: StepStatus
    exit_code: int


@dataclass(frozen=True, slots=True)
class SkipRest:
    """The document ends with this step, but for a finallyStep. `skipped` are to be reported as `skipped_as`.

    `final` is 168 when it ends well and 169 when not.
    """

    status: StepStatus
    exit_code: int
    final: int
    skipped: tuple[PlannedStep, ...]
    skipped_as: StepStatus = StepStatus.SKIPPED


@dataclass(frozen=True, slots=True)
class Reboot:
    """Reboot the machine, then run this same step again (or, PassedAndReboot, go on with the next)."""

    status: StepStatus
    exit_code: int


Decision = Continue | SkipRest | Reboot


def combine(outcomes: Sequence[StepOutcome]) -> StepOutcome:
    """One outcome of the several parts of a 1.x plugin: the first that is no success, else the last."""
    for outcome in outcomes:
        if outcome.status not in (StepStatus.SUCCESS, StepStatus.SKIPPED):
            return outcome
    return outcomes[-1] if outcomes else StepOutcome(StepStatus.SUCCESS, 0)


class Flow:
    """The course of one planned document on one node."""

    def __init__(self, steps: Sequence[PlannedStep], platform_type: PlatformType) -> None:
        self._steps = tuple(steps)
        self._reboot_code = REBOOT_ON_WINDOWS if platform_type == "Windows" else REBOOT
        self._statuses = {step.name: StepStatus.NOT_STARTED for step in self._steps}

    def next(self) -> PlannedStep | None:
        """The step that is due, be it for the first time or again after a reboot; None at the end."""
        for step in self._steps:
            if self._statuses[step.name] in (StepStatus.NOT_STARTED, StepStatus.SUCCESS_AND_REBOOT):
                return step
        return None

    def after(self, step: PlannedStep, outcome: StepOutcome) -> Decision:
        """Record how the step that was due went; ValueError for any other step."""
        if self.next() is not step:
            raise ValueError(f"step {step.name} is not the one that is due")
        decision = self._decide(step, outcome)
        self._statuses[step.name] = decision.status
        if isinstance(decision, SkipRest):
            for skipped in decision.skipped:
                self._statuses[skipped.name] = decision.skipped_as
        return decision

    @property
    def statuses(self) -> dict[str, StepStatus]:
        """Step name -> its state so far, in the document's order."""
        return dict(self._statuses)

    def document_status(self) -> DocumentStatus:
        """The document's state so far; a step passed before a reboot counts as a success once the rest is through."""
        statuses = [
            StepStatus.SUCCESS if status is StepStatus.PASSED_AND_REBOOT and self.next() is None else status
            for status in self._statuses.values()
        ]
        if self.next() is not None and StepStatus.SUCCESS_AND_REBOOT not in statuses:
            return DocumentStatus.IN_PROGRESS
        return roll_up_steps(statuses)

    def _decide(self, step: PlannedStep, outcome: StepOutcome) -> Decision:
        status, code = outcome.status, outcome.exit_code
        if status in _REBOOTS:
            return Reboot(status, code)
        if status in _BY_EXIT_CODE and code == self._reboot_code:
            return Reboot(StepStatus.SUCCESS_AND_REBOOT, code)
        if status in _BY_EXIT_CODE and code == EXIT_WITH_SUCCESS:
            return self._end(step, StepStatus.SUCCESS, code, EXIT_WITH_SUCCESS)
        if status in _BY_EXIT_CODE and code == EXIT_WITH_FAILURE:
            return self._end(step, StepStatus.FAILED, code, EXIT_WITH_FAILURE)
        if status is StepStatus.CANCELLED:
            return SkipRest(status, code, EXIT_WITH_FAILURE, self._rest(step), StepStatus.CANCELLED)
        if status in _FAILURES:
            return self._after_failure(step, status, code)
        if status is StepStatus.SUCCESS and step.on_success == "exit":
            return self._end(step, status, code, EXIT_WITH_SUCCESS)
        return Continue(status, code)

    def _after_failure(self, step: PlannedStep, status: StepStatus, code: int) -> Decision:
        if status is StepStatus.FAILED and code == 0:
            code = 1  # a failure never reports 0
        if step.on_failure == "exit":
            return self._end(step, status, code, EXIT_WITH_FAILURE)
        if step.on_failure == "successAndExit":
            return self._end(step, StepStatus.SUCCESS, code, EXIT_WITH_SUCCESS)
        return Continue(status, code)

    def _end(self, step: PlannedStep, status: StepStatus, code: int, final: int) -> SkipRest:
        skipped = tuple(other for other in self._rest(step) if not other.finally_step)
        return SkipRest(status, code, final, skipped)

    def _rest(self, step: PlannedStep) -> tuple[PlannedStep, ...]:
        return self._steps[self._steps.index(step) + 1 :]
