"""Ruling: which policy decides on an access request: deny-access, then auto-approval, then those of people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from fleetward.protocol import document as protocol
from fleetward.protocol.document.approval import Approver
from fleetward.server.call import Call
from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.iam import groups, principals, users
from fleetward.server.iam.errors import NoSuchEntityException
from fleetward.server.ssm import documents
from fleetward.server.ssm.documents import cedar
from fleetward.server.ssm.errors import InvalidDocument

MANUAL = "ManualApprovalPolicy"
AUTOMATIC = "AutoApprovalPolicy"
AUTOMATIC_ACCESS = timedelta(hours=1)
"""How long access lasts that was approved without anybody, as in AWS."""
PRINCIPAL_TAG = "aws:PrincipalTag/"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a policy says of a request. Without `levels` it is approved already."""

    policy_name: str
    policy_version: str
    access: timedelta
    answer_within: timedelta = timedelta()
    end_sessions: bool = False
    levels: Sequence[Mapping[str, Any]] = ()


class _Manual(NamedTuple):
    document: documents.ResolvedDocument
    policy: protocol.ApprovalPolicy


def rule(call: Call, node_tags: Mapping[str, Mapping[str, str]]) -> Ruling:
    """The ruling on access of the caller to nodes with these tags.

    Raises AccessDeniedException where no policy lets anybody ask for one of them, ValidationException where several
    apply to one node, or different ones to several nodes.
    """
    automatic = _automatic(call, node_tags)
    if automatic is not None:
        return automatic
    policies = [_Manual(each, _read(each)) for each in documents.of_type(call, MANUAL)]
    chosen = {node_id: _of_node(policies, node_id, tags) for node_id, tags in node_tags.items()}
    found = {each.document.name: each for each in chosen.values()}
    if len(found) > 1:
        names = ", ".join(sorted(found))
        raise ValidationException(f"Different policies apply to these nodes: {names}. Make a request for each.")
    ((_, (document, policy)),) = found.items()
    return Ruling(
        policy_name=document.name,
        policy_version=document.version,
        access=timedelta(hours=policy.access_hours),
        answer_within=timedelta(hours=policy.answer_hours),
        end_sessions=policy.end_sessions,
        levels=[
            {"minimum": level.minimum, "approvers": [_named(call, each) for each in level.approvers]}
            for level in policy.levels
        ],
    )


def _automatic(call: Call, node_tags: Mapping[str, Mapping[str, str]]) -> Ruling | None:
    approving = _cedar_text(call, cedar.AUTO_APPROVAL)
    if approving is None:
        return None
    denying = _cedar_text(call, cedar.DENY_ACCESS)
    texts = [each.text for each in (denying, approving) if each is not None]
    requester = _requester(call)
    if not all(cedar.allows(texts, requester, node_id, tags) for node_id, tags in node_tags.items()):
        return None
    return Ruling(approving.name, approving.version, AUTOMATIC_ACCESS)


def _cedar_text(call: Call, name: str) -> documents.ResolvedDocument | None:
    try:
        found = documents.resolve(call, name)
    except InvalidDocument:
        return None
    return found if found.document_type == AUTOMATIC else None


def _requester(call: Call) -> cedar.Requester:
    caller = call.caller
    rows = groups.of_user(call, caller.user_id) if caller.kind == "user" else ()
    tags = {
        key.removeprefix(PRINCIPAL_TAG): str(value)
        for key, value in caller.context.items()
        if key.startswith(PRINCIPAL_TAG)
    }
    return cedar.Requester(
        caller.user_id or caller.arn, [each for row in rows for each in (row.name, row.group_id)], tags
    )


def _read(document: documents.ResolvedDocument) -> protocol.ApprovalPolicy:
    try:
        return protocol.parse_approval(document.content)
    except protocol.DocumentFault as fault:
        raise ValidationException(f"The approval policy {document.name} cannot be used: {fault.reason}.") from None


def _of_node(policies: Sequence[_Manual], node_id: str, tags: Mapping[str, str]) -> _Manual:
    """The one policy of a node: that for one of its tags, else that for every node."""
    found = [each for each in policies if each.policy.applies(tags)]
    found = found or [each for each in policies if not each.policy.targets]
    if not found:
        raise AccessDeniedException(f"No approval policy applies to {node_id}, so that nobody can ask for access.")
    if len(found) > 1:
        names = ", ".join(each.document.name for each in found)
        raise ValidationException(f"Several approval policies apply to {node_id}: {names}. Let one of them.")
    return found[0]


def _named(call: Call, approver: Approver) -> dict[str, str]:
    """An approver with the unique id behind the name; empty when there is nobody of that name."""
    return {"type": approver.type, "name": approver.name, "id": _unique_id(call, approver)}


def _unique_id(call: Call, approver: Approver) -> str:
    try:
        if approver.type == "IamUser":
            return str(users.find(call, approver.name).user_id)
        if approver.type == "IamGroup":
            return str(groups.find(call, approver.name).group_id)
    except NoSuchEntityException:
        return ""
    role = principals.find_role(call, approver.name)
    return "" if role is None else role.role_id
