"""One command on its way through its steps: every move is in the journal before it is made, and reported after."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fleetward.agent import parameters, s3
from fleetward.agent.gate import Gate
from fleetward.agent.journal import Event, Record
from fleetward.agent.node import Node
from fleetward.agent.output import STREAM_BYTES, StepOutput
from fleetward.agent.outputs import Outputs
from fleetward.agent.plugins import ACTIONS
from fleetward.agent.process import Stop
from fleetward.agent.report import Replies, Reply, StepResult, reply_content, step_result
from fleetward.agent.scripts import KILLED, end_leftover
from fleetward.agent.steps import folder_name, run_step
from fleetward.protocol.document import (
    Continue,
    Document,
    DocumentFault,
    Flow,
    ParameterFault,
    PlannedStep,
    Reboot,
    SkipRest,
    StepOutcome,
    SubstitutionFault,
    bind,
    bind_wire,
    environment_parameters,
    parse,
    plan,
    resolve_references,
    ssm_references,
    wire_parameters,
)
from fleetward.protocol.document.flow import EXIT_WITH_FAILURE
from fleetward.protocol.status import DocumentStatus, StepStatus

log = logging.getLogger("fleetward.execution")

MOST_REBOOTS = 20
STEPS_FOLDER = "steps"
DOWNLOADS_FOLDER = "downloads"


class CommandFault(Exception):
    """The command cannot be run at all; the text goes into its trace."""


class Suspended(Exception):
    """The command goes on after the machine has rebooted."""


class Execution:
    """One accepted command. Steps run inside the `gate`; `reboot` asks for a reboot of the machine."""

    def __init__(
        self,
        node: Node,
        record: Record,
        replies: Replies,
        *,
        gate: Gate,
        reboot: Callable[[], None],
    ) -> None:
        self.record = record
        self._node = node
        self._replies = replies
        self._gate = gate
        self._reboot = reboot
        self._stop = Stop()
        self._platform = node.platform.platform_type.lower()
        self._association_id = str(record.accepted.get("association_id", ""))
        self._sequence = int(record.accepted.get("sequence", 0))
        self._results: dict[str, StepResult] = {}
        self._outputs = Outputs(node, record)
        self._schema_version = ""
        self._open_replies = 0
        if any(record.of_kind("cancelled")):
            self._stop.set()

    @property
    def folder(self) -> Path:
        """Where everything of this command lies."""
        return self._node.state.orchestration / self.record.command_id

    def cancel(self) -> None:
        """End the command as soon as possible, also if the agent dies first."""
        if not self._stop.is_set and not any(self.record.of_kind("done")):
            self.record.add({"event": "cancelled"})
            self._stop.set()

    def announce(self) -> None:
        """Tell that the command is accepted."""
        content = reply_content(self._platform, DocumentStatus.IN_PROGRESS, None, sequence=self._sequence)
        self._reply(content, uuid.uuid4(), keep=False)

    async def run(self) -> None:
        """Run what is left of the command and report it; Suspended when a reboot comes first."""
        if any(self.record.of_kind("done")):
            await self._report_again()
            return
        try:
            document, values = await self._prepare()
        except CommandFault as fault:
            self._finish(DocumentStatus.FAILED, str(fault))
            return
        self._schema_version = document.schema_version
        platform_type = self._node.platform.platform_type
        steps = plan(document, values, platform_type, ACTIONS)
        flow = Flow(steps, platform_type)
        self._replay(flow)
        await self._report_again()
        self._settle_interrupted(flow)
        for event in list(self.record.of_kind("ended")):
            await self._outputs.log(event["step"], self._folder_of(event["step"]))
        variables = environment_parameters(document, values)
        while (step := flow.next()) is not None:
            await self._perform(flow, step, variables)
        self._finish(flow.document_status(), "", is_single=len(steps) == 1)

    async def _prepare(self) -> tuple[Document, dict[str, Any]]:
        content = read_content(self.record.accepted["content"])
        values = parameters_of(content)
        document_content = content["DocumentContent"]
        references = ssm_references(values) | ssm_references(_body_of(document_content))
        if references:
            try:
                resolved = await parameters.fetch(self._node.client, references)
            except parameters.ParametersNotRead as fault:
                raise CommandFault(str(fault)) from fault
            values = resolve_references(values, resolved)
            document_content = {**document_content, **resolve_references(_body_of(document_content), resolved)}
        return checked(document_content, values)

    # --- after a restart ---------------------------------------------------------------------------------------------

    def _replay(self, flow: Flow) -> None:
        for event in self.record.of_kind("ended"):
            step = flow.next()
            if step is None or step.name != event["step"]:
                raise CommandFault("the journal does not fit the document")
            flow.after(step, StepOutcome(StepStatus(event["outcome"][0]), event["outcome"][1]))
            self._results |= event["results"]

    async def _report_again(self) -> None:
        """Send what the control plane has not acknowledged, as if it were new."""
        stored = {event["message_id"] for event in self.record.of_kind("acknowledged")}
        for event in list(self.record.of_kind("ended")):
            for name, result in event["results"].items():
                message_id = event["message_ids"][name]
                if message_id not in stored:
                    await self._outputs.hand_in(name, self._folder_of(name), result)
                    self._reply_step(name, result, message_id)
        for event in self.record.of_kind("done"):
            if event["message_id"] not in stored:
                self._reply(event["content"], uuid.UUID(event["message_id"]))
        if any(self.record.of_kind("done")) and not self._open_replies:
            self.record.finish()

    def _settle_interrupted(self, flow: Flow) -> None:
        """A step that ran when the agent died has failed, and so has the command: nobody knows how far it came."""
        last = self.record.events[-1]
        for event in self.record.events:
            if event["event"] in ("started", "ended"):
                last = event
        if last["event"] != "started":
            self._ask_reboot_again(flow)
            return
        step = flow.next()
        assert step is not None
        folder = self._folder_of(step.name)
        end_leftover(folder, self._node.platform)
        rebooted = last.get("boot_id") != self._node.platform.boot_id()
        output = StepOutput(folder)
        if self._stop.is_set:
            outcome = StepOutcome(StepStatus.CANCELLED, KILLED)
        else:
            what = "the machine restarted" if rebooted else "the agent was stopped"
            output.add_error(
                f"{what} while step {step.name} ran; how far it came is not known, and it is not run again"
            )
            outcome = StepOutcome(StepStatus.FAILED, EXIT_WITH_FAILURE)  # the steps after it are skipped
        self._ended(flow, step, outcome, output, float(last["at"]), shown_code=1)

    def _ask_reboot_again(self, flow: Flow) -> None:
        """The machine was to reboot, but this is still the same boot."""
        ended = list(self.record.of_kind("ended"))
        is_waiting = bool(ended) and ended[-1]["reboot"] and flow.next() is not None
        if is_waiting and ended[-1]["boot_id"] == self._node.platform.boot_id() and not self._stop.is_set:
            self._reboot()
            raise Suspended

    # --- steps -------------------------------------------------------------------------------------------------------

    async def _perform(self, flow: Flow, step: PlannedStep, variables: Mapping[str, str]) -> None:
        async with self._gate:
            wants_reboot = await self._run_step(flow, step, variables)
        await self._outputs.hand_in(step.name, self._folder_of(step.name), self._results[step.name])
        self._report_last()
        if wants_reboot:
            self._reboot()
            raise Suspended

    async def _run_step(self, flow: Flow, step: PlannedStep, variables: Mapping[str, str]) -> bool:
        """Run one step and put its end into the journal; whether it wants a reboot."""
        output = StepOutput(self._folder_of(step.name))
        started_at = time.time()
        if self._stop.is_set:
            outcome = StepOutcome(StepStatus.CANCELLED, KILLED)
        elif step.skip_reason is not None:
            output.stdout.write(step.skip_reason.encode())
            outcome = StepOutcome(StepStatus.SKIPPED, 0)
        elif step.fail_reason is not None or self._reboots_of(step) >= MOST_REBOOTS:
            output.add_error(step.fail_reason or f"step {step.name} asked for a reboot {MOST_REBOOTS} times")
            outcome = StepOutcome(StepStatus.FAILED, 1)
        else:
            boot_id = self._node.platform.boot_id()
            self.record.add({"event": "started", "step": step.name, "at": started_at, "boot_id": boot_id})
            outcome = await run_step(
                self._node,
                self.record.command_id,
                step,
                self._folder_of(step.name),
                self.folder / DOWNLOADS_FOLDER,
                output,
                self._stop,
                variables,
                association_id=self._association_id,
            )
        return self._ended(flow, step, outcome, output, started_at)

    def _ended(
        self,
        flow: Flow,
        step: PlannedStep,
        outcome: StepOutcome,
        output: StepOutput,
        started_at: float,
        *,
        shown_code: int | None = None,
    ) -> bool:
        """Put the step's end into the journal; whether the machine is to reboot now."""
        output.close()
        decision = flow.after(step, outcome)
        code = decision.exit_code if shown_code is None or outcome.status is StepStatus.CANCELLED else shown_code
        stdout, stderr = output.stdout.head(STREAM_BYTES + 1), output.stderr.head(STREAM_BYTES + 1)
        content = read_content(self.record.accepted["content"])
        place = s3.output_members(content, self._node.node_id, self.record.command_id, self._schema_version, step)
        results = {step.name: step_result(step.action, decision.status, code, started_at, stdout, stderr, place)}
        if isinstance(decision, SkipRest):
            for skipped in decision.skipped:
                results[skipped.name] = _not_run(skipped, decision)
        event: Event = {
            "event": "ended",
            "step": step.name,
            "outcome": [outcome.status.value, outcome.exit_code],
            "results": results,
            "message_ids": {name: str(uuid.uuid4()) for name in results},
            "reboot": isinstance(decision, Reboot),
            "boot_id": self._node.platform.boot_id(),
        }
        self.record.add(event)
        self._results |= results
        if shown_code is not None:
            self._report_last()
        return not isinstance(decision, Continue | SkipRest)

    def _reboots_of(self, step: PlannedStep) -> int:
        return sum(event["step"] == step.name and event["reboot"] for event in self.record.of_kind("ended"))

    def _folder_of(self, step_name: str) -> Path:
        return self.folder / STEPS_FOLDER / folder_name(step_name)

    # --- replies -----------------------------------------------------------------------------------------------------

    def _report_last(self) -> None:
        event = list(self.record.of_kind("ended"))[-1]
        for name, result in event["results"].items():
            self._reply_step(name, result, event["message_ids"][name])

    def _reply_step(self, name: str, result: StepResult, message_id: str) -> None:
        content = reply_content(
            self._platform, DocumentStatus.IN_PROGRESS, {name: result}, counted=self._results or {name: result}
        )
        self._reply(content, uuid.UUID(message_id))

    def _finish(self, status: DocumentStatus, trace: str, *, is_single: bool = False) -> None:
        results = self._results if is_single or self._association_id else {}
        content = reply_content(
            self._platform, status, results, counted=self._results, trace=trace, sequence=self._sequence
        )
        message_id = uuid.uuid4()
        self.record.add({"event": "done", "status": status.value, "content": content, "message_id": str(message_id)})
        self._reply(content, message_id)

    def _reply(self, content: str, message_id: uuid.UUID, *, keep: bool = True) -> None:
        accepted = self.record.accepted
        if keep:
            self._open_replies += 1
        self._replies.add(
            Reply(
                accepted["job_id"],
                accepted["topic"],
                content,
                message_id,
                (lambda: self._stored(message_id)) if keep else None,
            )
        )

    def _stored(self, message_id: uuid.UUID) -> None:
        self.record.add({"event": "acknowledged", "message_id": str(message_id)}, durable=False)
        self._open_replies -= 1
        if not self._open_replies and any(self.record.of_kind("done")):
            self.record.finish()


def read_content(text: str) -> dict[str, Any]:
    """The object of a sendCommand message; CommandFault when it is none or has no document."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise CommandFault("the message is not JSON") from None
    if not isinstance(content, dict) or not isinstance(content.get("DocumentContent"), dict):
        raise CommandFault("the message holds no document")
    return content


def parameters_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the document's parameters that a message carries."""
    values = content.get("Parameters")
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise CommandFault("the message's Parameters are not an object")
    return values


def message_of(document: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The message of a document's text and parameters as the API has them, lists of texts; CommandFault as above."""
    try:
        content = json.loads(document)
    except (ValueError, RecursionError):
        raise CommandFault("the document is not JSON") from None
    if not isinstance(content, dict):
        raise CommandFault("the document is not an object")
    try:
        parsed = parse(content)
        values = wire_parameters(parsed, bind(parsed, parameters))
    except (DocumentFault, ParameterFault, SubstitutionFault) as fault:
        raise CommandFault(str(fault)) from fault
    return {"DocumentContent": content, "Parameters": values}


def check_content(text: str) -> None:
    """CommandFault for a message that cannot be run, as far as that shows without asking the control plane."""
    content = read_content(text)
    values = parameters_of(content)
    if not ssm_references(values) and not ssm_references(_body_of(content["DocumentContent"])):
        checked(content["DocumentContent"], values)


def checked(content: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[Document, dict[str, Any]]:
    """The document with its bound values; CommandFault when one of them is wrong."""
    try:
        document = parse(content)
        return document, bind_wire(document, values)
    except (DocumentFault, ParameterFault, SubstitutionFault) as fault:
        raise CommandFault(str(fault)) from fault


def _body_of(document_content: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a document in which references are looked for: its steps."""
    return {name: document_content[name] for name in ("mainSteps", "runtimeConfig") if name in document_content}


def _not_run(step: PlannedStep, decision: SkipRest) -> StepResult:
    code = KILLED if decision.skipped_as is StepStatus.CANCELLED else 0
    return step_result(step.action, decision.skipped_as, code, time.time(), b"", b"")
