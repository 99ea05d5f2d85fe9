"""StartSession, ResumeSession and TerminateSession: from the grant that allows a session to what its node is sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import orjson
from sqlalchemy import bindparam, update

from fleetward.protocol import document as protocol
from fleetward.protocol.status import ACTIVE_SESSIONS, SessionStatus
from fleetward.server import mailbox, presence
from fleetward.server.call import Call, Resource
from fleetward.server.errors import AccessDeniedException, ThrottlingException, ValidationException
from fleetward.server.iam import evaluate
from fleetward.server.keys import token_hash
from fleetward.server.ssm import documents, just_in_time_access, nodes, ssm
from fleetward.server.ssm.errors import DoesNotExistException, InvalidDocument, TargetNotConnected
from fleetward.server.ssm.session_manager import ends, limits, table
from fleetward.server.ssm.session_manager.ending import START, end
from fleetward.server.ssm.session_manager.table import key_of, sessions

PREFERENCES = "SSM-SessionManagerRunShell"
"""The document of an account's preferences; without it those of `protocol.document.session` apply."""
CHECK_KEY = "ssm:SessionDocumentAccessCheck"
RUN_AS_TAG = "aws:PrincipalTag/SSMSessionRunAs"
OWNER_TAG = "aws:ssmmessages:session-id"
TARGET_TAG = "aws:ssmmessages:target-id"
LONGEST_ID = 96
RANDOM_DIGITS = 17
MOST_OF_A_NODE = 1000
DELIVER_WITHIN = timedelta(seconds=30)
BUILT_IN_SHELL: Mapping[str, Any] = {"schemaVersion": "1.0", "sessionType": "Standard_Stream", "inputs": {}}

NEW_CLIENT_TOKEN = update(sessions).where(*table.THIS).values(client_token=bindparam("token"))


def node_and_document(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """StartSession is decided on the node, and on the document that is named.

    One who names none gets the account's shell without a right to its document, unless a policy of his asks for
    `ssm:SessionDocumentAccessCheck` (user guide, "Enforce a session document permission check for the AWS CLI").
    """
    yield nodes.table.tagged(call, request["Target"])
    yield from document_resource(call, request.get("DocumentName"))


def document_resource(call: Call, named: str | None) -> Iterable[Resource]:
    """The document that the decision is on as well, if it is on one."""
    policies = call.caller.policies
    checked = policies is not None and CHECK_KEY.lower() in evaluate.condition_keys(policies, "ssm:StartSession")
    if named or checked:
        yield documents.resource(call, named or PREFERENCES)


def document_check(call: Call, request: Mapping[str, Any]) -> dict[str, str]:
    """The condition key that policies of StartSession ask for."""
    return {CHECK_KEY: "true"}


def the_session(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """A session as what IAM decides on, with the two tags that the service puts on every one."""
    row = table.find(call, request["SessionId"])
    tags = None if row is None else {OWNER_TAG: row.owner_id, TARGET_TAG: row.node_id}
    return (Resource(call.arn(f"session/{request['SessionId']}"), tags),)


@ssm.operation("StartSession", resources=node_and_document, conditions=document_check)
def start_session(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Record a session, have the node open its end, and give the caller a token for the other one."""
    node_id = request["Target"]
    if not presence.connected(call, [node_id]):
        raise TargetNotConnected(f"{node_id} is not connected.")
    if len(table.active_of_node(call, node_id)) >= MOST_OF_A_NODE:
        raise ThrottlingException(f"{node_id} has {MOST_OF_A_NODE} sessions already.")
    preferences = _preferences(call)
    named = request.get("DocumentName")
    document = _document(call, named) if named else None
    plan = _plan(document, request.get("Parameters", {}), preferences)
    row = _row(call, request, document, plan, preferences)
    token = ends.new_client_token(call.keys, table.Key(call.account, call.region, row["session_id"]))
    row["client_token"] = token_hash(token)
    call.db.run(table.ADD, row)
    message = mailbox.Message(
        node_id=node_id,
        message_id=row["session_id"],
        kind=START,
        subject=row["session_id"],
        expires_at=call.now + DELIVER_WITHIN,
        lane=mailbox.Lane.URGENT,
    )
    mailbox.post(call, [message])
    return _opening(call, row["session_id"], token)


@ssm.message(START)
def render_start(call: Call, session_ids: Iterable[str]) -> dict[str, mailbox.Rendered]:
    """What a node is sent; a session that has ended meanwhile is not started."""
    rows = call.db.all(table.MANY, **call.here, some=list(session_ids))
    return {
        row.session_id: mailbox.Rendered(row.session_id, row.content, mailbox.Form.START_SESSION)
        for row in rows
        if row.ended_at is None
    }


@ssm.operation("ResumeSession", resources=the_session)
def resume_session(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A new token for the client's end of a session that goes on: for whoever opened it."""
    row = table.lock(call, request["SessionId"])
    if row is None or row.status not in ACTIVE_SESSIONS:
        raise DoesNotExistException(f"There is no session {request['SessionId']} that could be resumed.")
    if row.owner_id != owner_id(call):
        raise AccessDeniedException(f"The session {row.session_id} was opened by {row.owner_arn}.")
    token = ends.new_client_token(call.keys, key_of(row))
    call.db.run(NEW_CLIENT_TOKEN, {**table.these(call, row.session_id), "token": token_hash(token)})
    return _opening(call, row.session_id, token)


@ssm.operation("TerminateSession", resources=the_session)
def terminate_session(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """End a session for good. Ours, as AWS's model knows no error here: an unknown id is answered like a known one."""
    row = table.lock(call, request["SessionId"])
    if row is not None:
        by = call.caller.arn
        end(call, row, SessionStatus.TERMINATED, f"Terminated by {by}.", by=by)
    return {"SessionId": request["SessionId"]}


def owner_id(call: Call) -> str:
    """What a session's owner is known by: his `aws:userid`."""
    return call.caller.user_id or call.caller.arn


def _preferences(call: Call) -> Mapping[str, Any] | None:
    """The content of the account's preferences, in their default version; None where it has none."""
    try:
        found = documents.resolve(call, PREFERENCES)
    except InvalidDocument:
        return None
    return found.content if found.document_type == "Session" else None


def _document(call: Call, named: str) -> documents.ResolvedDocument | None:
    """The document that the caller names; the account's preferences are there even before they were written down."""
    try:
        found = documents.resolve(call, named)
    except InvalidDocument:
        if named == PREFERENCES:
            return None
        raise
    if found.document_type != "Session":
        raise InvalidDocument(f"{found.name} is of type {found.document_type}; StartSession takes Session documents.")
    return found


def _plan(
    document: documents.ResolvedDocument | None,
    values: Mapping[str, list[str]],
    preferences: Mapping[str, Any] | None,
) -> protocol.SessionPlan:
    content = document.content if document is not None else (preferences or BUILT_IN_SHELL)
    try:
        return protocol.plan_session(content, values, preferences=preferences, matches=documents.fits)
    except protocol.ParameterFault as fault:
        raise ValidationException(f"{fault.name}: {fault.reason}") from fault
    except (protocol.DocumentFault, protocol.SubstitutionFault) as fault:
        raise InvalidDocument(str(fault)) from fault


def _row(
    call: Call,
    request: Mapping[str, Any],
    document: documents.ResolvedDocument | None,
    plan: protocol.SessionPlan,
    preferences: Mapping[str, Any] | None,
) -> dict[str, Any]:
    session_id = _new_id(call)
    name = document.name if document is not None else PREFERENCES
    properties = plan.properties or {}
    is_port = plan.session_type == "Port"
    return {
        **call.tenant,
        "session_id": session_id,
        "node_id": request["Target"],
        "status": SessionStatus.CONNECTING.value,
        "access_type": just_in_time_access.access_type(call),
        "reason": request.get("Reason", ""),
        "started_at": call.now,
        "ended_at": None,
        "details": "",
        "document_name": name,
        "document_named": request.get("DocumentName", ""),
        "session_type": plan.session_type,
        "recorded": plan.session_type in ends.WITH_SCREEN and not plan.inputs["kmsKeyId"],
        "content": _content(call, session_id, name, plan),
        "target_host": str(properties.get("host") or "localhost")[:255] if is_port else "",
        "target_port": str(properties.get("portNumber", ""))[:5] if is_port else "",
        **_owner(call, session_id),
        "client_token": None,
        "client_server": None,
        "client_epoch": 0,
        "client_left_at": call.now,
        "node_token": None,
        "node_server": None,
        "node_epoch": 0,
        "node_left_at": call.now,
        "idle_minutes": _idle_minutes(plan, preferences),
        "max_duration": "" if plan.most_minutes is None else str(plan.most_minutes),
        "due_at": call.now + limits.NODE_COMES_WITHIN,
        "active_at": call.now,
        "bytes_in": 0,
        "bytes_out": 0,
        "ended_by": "",
        "s3_url": "",
        "log_url": "",
        "recording_key": "",
        "recording_bytes": 0,
    }


def _owner(call: Call, session_id: str) -> dict[str, Any]:
    """Who opens the session, and the keys that he holds: when they end, so does what they opened."""
    token = call.context.session_token
    identity = table.token_identity(table.Key(call.account, call.region, session_id))
    return {
        "owner_arn": call.caller.arn,
        "owner_id": owner_id(call),
        "access_key_id": call.caller.access_key_id,
        "session_token": call.keys.seal(token.encode(), identity) if token else None,
        "source_ip": call.context.source_ip[:45],
    }


def _content(call: Call, session_id: str, document_name: str, plan: protocol.SessionPlan) -> str:
    body = {
        "DocumentName": document_name,
        "DocumentContent": plan.content,
        "SessionId": session_id,
        "Parameters": plan.parameters,
        "RunAsUser": str(call.caller.context.get(RUN_AS_TAG, "")),
        "SessionOwner": call.caller.arn,
    }
    return orjson.dumps(body).decode()


def _idle_minutes(plan: protocol.SessionPlan, preferences: Mapping[str, Any] | None) -> int | None:
    """Ours: what has no screen (a tunnel) may be idle for ever, unless the account's preferences say how long."""
    if plan.session_type in ends.WITH_SCREEN or "idleSessionTimeout" in (preferences or {}).get("inputs", {}):
        return plan.idle_minutes
    return None


def _new_id(call: Call) -> str:
    """`<user or role session>-<17 hex digits>`, so that policies can say `session/${aws:username}-*`."""
    name = "root" if call.caller.kind == "root" else call.caller.arn.rsplit("/", 1)[-1]
    name = re.sub(r"[^A-Za-z0-9_+=,.@-]", "-", name)[: LONGEST_ID - RANDOM_DIGITS - 1]
    return call.new_hex(f"{name}-", RANDOM_DIGITS)


def _opening(call: Call, session_id: str, token: str) -> dict[str, Any]:
    base = re.sub(r"^http", "ws", call.settings.own_url)
    url = f"{base}/v1/data-channel/{quote(session_id, safe='')}?role=publish_subscribe"
    return {"SessionId": session_id, "TokenValue": token, "StreamUrl": url}
