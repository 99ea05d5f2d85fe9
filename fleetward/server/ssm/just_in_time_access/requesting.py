"""StartAccessRequest and GetAccessToken: somebody asks for access to nodes, and fetches keys once it is approved."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import orjson
from sqlalchemy import Row

from fleetward.server.call import Call, Resource
from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.iam import context as keys_of
from fleetward.server.iam import principals
from fleetward.server.ssm import nodes, ssm, tags
from fleetward.server.ssm.errors import (
    InvalidInstanceId,
    ResourceNotFoundException,
    ServiceQuotaExceededException,
    TooManyTagsError,
)
from fleetward.server.ssm.just_in_time_access import table
from fleetward.server.ssm.just_in_time_access.ruling import Ruling, rule
from fleetward.server.ssm.just_in_time_access.table import Status
from fleetward.server.sts import issue

MOST_NODES = 10
"""Of one request: the keys name each of them."""
MOST_PENDING = 20
"""Requests of one person that wait for an answer."""
KEYS_LAST = timedelta(hours=1)
ROLE = "SSM-JustInTimeAccessTokenRole"
"""The role that keys seem to be of, as in AWS; there need not be one, and it grants nothing."""
RUN_AS_TAG = "SSMSessionRunAs"
OWNER_TAG = "ssm:resourceTag/aws:ssmmessages:session-id"
NAME_LENGTH = 64


def asked_nodes(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """StartAccessRequest is decided on every node."""
    for node_id, content in _node_tags(call, request).items():
        yield Resource(nodes.arn(call, node_id), content)


def the_request(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """What GetAccessToken is decided on."""
    return (table.resource(call, request["AccessRequestId"]),)


@ssm.operation("StartAccessRequest", resources=asked_nodes, conditions=keys_of.tags_of("Tags"))
def start_access_request(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask for access to nodes: approved at once if a policy says so, else waiting for those whom one names."""
    node_tags = _node_tags(call, request)
    person = issue.origin(call.caller)
    waiting = call.db.values(table.PENDING_OF_PERSON, **call.here, of_person=person)
    if len(waiting) >= MOST_PENDING:
        raise ServiceQuotaExceededException(
            f"{MOST_PENDING} of your access requests wait for an answer already.",
            QuotaCode="pending-access-requests",
            ServiceCode="ssm",
        )
    try:
        labels = tags.mapping(request.get("Tags", ()))
    except TooManyTagsError as fault:  # the model does not let this operation say so
        raise ValidationException(fault.message) from None
    access_request_id = call.new_hex("oi-", 12)
    call.db.run(table.ADD, _row(call, request, access_request_id, labels, list(node_tags), rule(call, node_tags)))
    return {"AccessRequestId": access_request_id}


@ssm.operation("GetAccessToken", resources=the_request)
def get_access_token(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The state of one's own request and, while its access lasts, keys for sessions to its nodes."""
    row = table.find(call, request["AccessRequestId"])
    if row is None:
        raise table.unknown(request["AccessRequestId"])
    if (row.person, row.requester_id) != (issue.origin(call.caller), _requester_id(call)):
        raise AccessDeniedException(f"The access request {row.access_request_id} was made by {row.requester_arn}.")
    status = table.status(row, call.now)
    answer: dict[str, Any] = {"AccessRequestStatus": status.value}
    if status is Status.APPROVED:
        answer["Credentials"] = _credentials(call, row)
    return answer


def access_type(call: Call) -> str:
    """How the caller came by the access that he uses: AccessType of a session."""
    return "JustInTime" if issue.ACCESS_REQUEST in call.caller.context else "Standard"


def lives(call: Call, request: tuple[str, str]) -> bool:
    """Entry: whether keys count that were given for `region/id` of an account.

    Not once the access was revoked or who asked for it is gone. Keys that are past their time alone go on to carry
    the sessions that they opened, unless the policy ends these with the access.
    """
    account, (region, access_request_id) = request[0], request[1].split("/", 1)
    row = call.db.first(table.FIND, account=account, in_region=region, access_request=access_request_id)
    if row is None or row.access_until is None or row.status == Status.REVOKED:
        return False
    if row.end_sessions and row.access_until <= call.now:
        return False
    ids = {row.requester_id.partition(":")[0], row.person}
    return all(principals.standing(call, (each, ())) is not None for each in ids if each[:4] in ("AIDA", "AROA"))


def _node_tags(call: Call, request: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The nodes that a request names, with their tags."""
    node_ids: list[str] = []
    for target in request["Targets"]:
        if target.get("Key") != "InstanceIds" or not target.get("Values"):
            raise ValidationException("Targets name nodes: Key InstanceIds, and at least one of their ids as Values.")
        node_ids += target["Values"]
    if not node_ids:
        raise ValidationException("Targets must name at least one node.")
    if len(node_ids) > MOST_NODES or len(set(node_ids)) < len(node_ids):
        raise ValidationException(f"Targets can name {MOST_NODES} nodes at most, and each of them once.")
    try:
        nodes.require(call, node_ids)
    except InvalidInstanceId as fault:  # the model does not let this operation say so
        raise ResourceNotFoundException(fault.message) from None
    return tags.of(call, nodes.RESOURCE_TYPE, node_ids)


def _row(
    call: Call,
    request: Mapping[str, Any],
    access_request_id: str,
    labels: Mapping[str, str],
    node_ids: list[str],
    ruling: Ruling,
) -> dict[str, Any]:
    approved = not ruling.levels
    until = call.now + ruling.access if approved else None
    return {
        **call.tenant,
        "access_request_id": access_request_id,
        "status": (Status.APPROVED if approved else Status.PENDING).value,
        "reason": request["Reason"],
        "node_ids": node_ids,
        "tags": labels,
        "created_at": call.now,
        "requester_arn": call.caller.arn,
        "requester_id": _requester_id(call),
        "person": issue.origin(call.caller),
        "policy_name": ruling.policy_name,
        "policy_version": ruling.policy_version,
        "levels": list(ruling.levels),
        "access_seconds": int(ruling.access.total_seconds()),
        "end_sessions": ruling.end_sessions,
        "level": 0,
        "due_at": until or call.now + ruling.answer_within,
        "access_until": until,
        "ended_at": None,
        "ended_by": "",
        "comment": "",
    }


def _requester_id(call: Call) -> str:
    return call.caller.user_id or call.caller.arn


def _credentials(call: Call, row: Row[Any]) -> dict[str, Any]:
    """Keys that open sessions to the request's nodes and nothing else; whose they are is the request's own matter.

    They carry on the requester's user of sessions, and end with the sign-in that the requester came by.
    """
    own = call.caller.context
    name = "root" if call.caller.kind == "root" else call.caller.arn.rsplit("/", 1)[-1]
    name = re.sub(r"[^A-Za-z0-9_+=,.@-]", "-", name)[:NAME_LENGTH]
    user_id = f"{row.access_request_id}:{name}"
    run_as = own.get(f"aws:PrincipalTag/{RUN_AS_TAG}")
    more = {
        "user_id": user_id,
        "creator": "",
        "origin": row.person,
        "access_request": f"{call.region}/{row.access_request_id}",
    }
    for member, key in (("sign_in", issue.SIGN_IN), ("source_identity", "aws:SourceIdentity")):
        if key in own:
            more[member] = str(own[key])
    session = issue.Session(
        policy=orjson.dumps(_policy(call, row, user_id)).decode(),
        tags={RUN_AS_TAG: str(run_as)} if run_as else {},
        more=more,
    )
    arn = f"arn:aws:sts::{call.account}:assumed-role/{ROLE}/{name}"
    made = issue.issue(call, arn, "federated", min(KEYS_LAST, row.access_until - call.now), session)
    made["ExpirationTime"] = made.pop("Expiration")
    return made


def _policy(call: Call, row: Row[Any], user_id: str) -> dict[str, Any]:
    documents = [call.arn("document/*"), call.arn("document/*", owned_by_aws=True)]
    own_session = {"StringEquals": {OWNER_TAG: user_id}}
    to_these = {"StringEquals": {"kms:EncryptionContext:aws:ssm:TargetId": list(row.node_ids)}}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "ssm:StartSession",
                "Resource": [*(nodes.arn(call, each) for each in row.node_ids), *documents],
            },
            {
                "Effect": "Allow",
                "Action": ["ssm:ResumeSession", "ssm:TerminateSession"],
                "Resource": call.arn("session/*"),
                "Condition": own_session,
            },
            {  # the key of an encrypted session, which its client fetches
                "Effect": "Allow",
                "Action": "kms:GenerateDataKey",
                "Resource": call.arn("key/*", service="kms"),
                "Condition": to_these,
            },
        ],
    }
