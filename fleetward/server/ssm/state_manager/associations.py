"""Associations: create, update and delete them, and run them at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, insert, select, tuple_, update

from fleetward.server import jobs
from fleetward.server.call import Call, Resource
from fleetward.server.errors import AwsError, ValidationException
from fleetward.server.iam import context as keys_of
from fleetward.server.jobs import DONE, Job, Next
from fleetward.server.schema import Json, UtcDateTime, in_tenant
from fleetward.server.ssm import documents, nodes, run_command, ssm, tags
from fleetward.server.ssm.errors import (
    AssociationAlreadyExists,
    AssociationDoesNotExist,
    AssociationLimitExceeded,
    AssociationVersionLimitExceeded,
    InvalidAssociation,
    InvalidAssociationVersion,
)
from fleetward.server.ssm.state_manager import definition as definitions
from fleetward.server.ssm.state_manager import executions, shapes, table
from fleetward.server.ssm.state_manager.executions import Cause

RESOURCE_TYPE = "Association"
MOST = 2000
MOST_VERSIONS = 1000
MOST_TOGETHER = 25
CHUNK = 300

ADD = insert(table.associations)
ADD_VERSION = insert(table.versions)
COUNT = select(func.count()).select_from(table.associations).where(*in_tenant(table.associations))
OF_NODE = select(table.associations).where(
    *in_tenant(table.associations),
    table.associations.c.node_id == bindparam("node"),
    table.associations.c.name == bindparam("document"),
)
CHANGE = (
    update(table.associations)
    .where(*table.THIS)
    .values(
        version=bindparam("to_version"),
        name=bindparam("to_name"),
        document=bindparam("to_document"),
        follows=bindparam("to_follows"),
        node_id=bindparam("to_node"),
        association_name=bindparam("called"),
        definition=bindparam("to_definition", type_=Json),
        live=bindparam("is_live"),
        inventory=bindparam("is_inventory"),
        updated_at=bindparam("now"),
        due_at=bindparam("due", type_=UtcDateTime),
    )
)
REMOVE = delete(table.associations).where(*table.THIS)
_VERSION = tuple(table.versions.primary_key)
REMOVE_VERSIONS = delete(table.versions).where(
    tuple_(*_VERSION).in_(
        select(*_VERSION)
        .where(*in_tenant(table.versions), table.versions.c.association_id == bindparam("association"))
        .limit(CHUNK)
    )
)
_RELEASE = tuple(table.releases.primary_key)
REMOVE_RELEASES = delete(table.releases).where(
    tuple_(*_RELEASE).in_(
        select(*_RELEASE)
        .where(*in_tenant(table.releases), table.releases.c.association_id == bindparam("association"))
        .limit(CHUNK)
    )
)
OPEN_EXECUTIONS = (
    select(table.executions.c.execution_id, table.executions.c.command_id)
    .where(
        *in_tenant(table.executions),
        table.executions.c.association_id == bindparam("association"),
        table.executions.c.ended_at.is_(None),
        table.executions.c.execution_id > bindparam("after"),
    )
    .order_by(table.executions.c.execution_id)
    .limit(20)
)


def arn(call: Call, association_id: str) -> str:
    """An association's ARN."""
    return call.arn(f"association/{association_id}")


def resource(call: Call, association_id: str) -> Resource:
    """An association as a resource of IAM, with its tags."""
    return Resource(arn(call, association_id), tags.of(call, RESOURCE_TYPE, [association_id])[association_id])


def _exists(call: Call, association_id: str) -> bool:
    return call.db.first(table.FIND, **table.key(call, association_id)) is not None


tags.taggable(RESOURCE_TYPE, exists=_exists, arn=arn)


def named(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """What IAM decides on where a request names an association, by id or in the legacy way."""
    row = _named(call, request)
    return [Resource(arn(call, "*")) if row is None else resource(call, row.association_id)]


def _several(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return [resource(call, association_id) for association_id in request["AssociationIds"]]


def _wanted(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """The document and every node: by id, or once for each distinct set of tags."""
    yield documents.resource(call, request["Name"])
    if request.get("InstanceId"):
        yield nodes.table.tagged(call, request["InstanceId"])
    elif request.get("Targets"):
        wanted = {"Name": request["Name"], "Targets": request["Targets"]}
        for tag_set in nodes.tag_sets(call, definitions.targets(call, wanted)):
            yield Resource(nodes.arn(call, "*"), tag_set.content)


def _all_wanted(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    for entry in request["Entries"]:
        yield from _wanted(call, entry)


def _changed(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """The association, and all that it will be: also the document and the targets that stay when they are left out."""
    row = _named(call, request)
    if row is None:
        yield Resource(arn(call, "*"))
        return
    yield resource(call, row.association_id)
    yield from _wanted(call, _filled(row, request))


@ssm.operation("CreateAssociation", resources=_wanted, conditions=keys_of.tags_of("Tags"), grows=True)
def create_association(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Record an association; it runs at once unless ApplyOnlyAtCronInterval says otherwise."""
    return {"AssociationDescription": shapes.description(_add(call, request))}


@ssm.operation("CreateAssociationBatch", resources=_all_wanted, grows=True)
def create_association_batch(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Create several associations; one that cannot be made does not stop the others."""
    entries: Sequence[Mapping[str, Any]] = request["Entries"]
    if len(entries) > MOST_TOGETHER:
        raise ValidationException(f"Entries takes {MOST_TOGETHER} associations at most; {len(entries)} were given.")
    role = request.get("AssociationDispatchAssumeRole")
    shared = {} if role is None else {"AssociationDispatchAssumeRole": role}
    made, failed = [], []
    for entry in entries:
        try:
            made.append(shapes.description(_add(call, {**entry, **shared})))
        except AwsError as fault:  # raised before anything is written
            failed.append({"Entry": entry, "Message": str(fault), "Fault": "Client"})
    return {"Successful": made, "Failed": failed}


@ssm.operation("UpdateAssociation", resources=_changed, grows=True)
def update_association(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Exchange all that an association says (what is left out becomes unset), and run it at once.

    API reference, UpdateAssociation: optional members that are not given become null. Ours: the document and the
    targets stay when they are left out, since an association is nothing without them.
    """
    row = table.lock(call, [request["AssociationId"].lower()]).get(request["AssociationId"].lower())
    if row is None:
        raise AssociationDoesNotExist(f"There is no association {request['AssociationId']}.")
    wanted = request.get("AssociationVersion", "$LATEST")
    if wanted not in ("$LATEST", str(row.version)):
        raise InvalidAssociationVersion(f"The latest version of {row.association_id} is {row.version}, not {wanted}.")
    if row.version >= MOST_VERSIONS:
        raise AssociationVersionLimitExceeded(f"An association can have {MOST_VERSIONS} versions; make a new one.")
    definition, document = definitions.read(call, _filled(row, request))
    version = row.version + 1
    changed = _columns(definition, document)
    call.db.run(
        CHANGE,
        table.key(
            call,
            row.association_id,
            to_version=version,
            to_name=changed["name"],
            to_document=changed["document"],
            to_follows=changed["follows"],
            to_node=changed["node_id"],
            called=changed["association_name"],
            to_definition=definition,
            is_live=changed["live"],
            is_inventory=changed["inventory"],
            now=call.now,
            due=definitions.due_after(definition, row.association_id, call.now, call.now),
        ),
    )
    _add_version(call, row.association_id, version, definition)
    if not definition.get("ApplyOnlyAtCronInterval"):
        executions.begin(call, row.association_id, Cause.UPDATED)
    return {"AssociationDescription": shapes.description(table.find(call, row.association_id))}


@ssm.operation("DeleteAssociation", resources=named)
def delete_association(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove an association; what has not begun to run does not run any more."""
    row = require(call, request)
    call.db.run(REMOVE, table.key(call, row.association_id))
    tags.drop(call, RESOURCE_TYPE, row.association_id)
    jobs.start(call, "association-delete", row.association_id, {"after": ""})
    return {}


@ssm.operation("StartAssociationsOnce", resources=_several)
def start_associations_once(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Run associations on all their targets now, whatever their schedules say."""
    ids = [association_id.lower() for association_id in request["AssociationIds"]]
    if len(set(ids)) < len(ids):
        raise InvalidAssociation("AssociationIds names an association twice.")
    for association_id in ids:
        table.find(call, association_id)
    for association_id in ids:
        executions.begin(call, association_id, Cause.ONCE)
    return {}


@ssm.job("association-delete")
def delete_rest(call: Call, job: Job) -> Next:
    """End what a deleted association still runs, then remove what it left, a chunk at a time."""
    if job.step == "start":
        rows = call.db.all(OPEN_EXECUTIONS, **table.key(call, job.key), after=job.state["after"])
        for row in rows:
            if row.command_id is not None:
                run_command.commands.cancel(call, row.command_id)
        return Next("start", {"after": rows[-1].execution_id}) if rows else Next("rows", {})
    removed = call.db.run(REMOVE_RELEASES, table.key(call, job.key))
    removed += call.db.run(REMOVE_VERSIONS, table.key(call, job.key))
    return Next("rows", {}) if removed else DONE


def require(call: Call, request: Mapping[str, Any]) -> Row[Any]:
    """The association that a request names by AssociationId, or by Name and InstanceId."""
    row = _named(call, request)
    if row is None:
        asked = request.get("AssociationId") or f"of {request.get('Name')} with {request.get('InstanceId')}"
        raise AssociationDoesNotExist(f"There is no association {asked}.")
    return row


def _named(call: Call, request: Mapping[str, Any]) -> Row[Any] | None:
    if request.get("AssociationId"):
        return call.db.first(table.FIND, **table.key(call, request["AssociationId"].lower()))
    document, node_id = request.get("Name"), request.get("InstanceId")
    return call.db.first(OF_NODE, **call.here, node=node_id, document=document) if document and node_id else None


def _filled(row: Row[Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """What an update asks for, with the document and the targets that the association has where it names none."""
    asked = {"Name": row.name, **request}
    if not asked.get("Targets"):
        legacy = row.definition.get("InstanceId")
        asked |= {"InstanceId": legacy} if legacy else {"Targets": row.definition["Targets"]}
    return asked


def _add(call: Call, request: Mapping[str, Any]) -> Row[Any]:
    """Check and store an association, and run it; its row."""
    definition, document = definitions.read(call, request)
    node_id = definition.get("InstanceId")
    if node_id is not None:
        definitions.check_platform(call, node_id, document)
        if call.db.first(OF_NODE, **call.here, node=node_id, document=definition["Name"]) is not None:
            raise AssociationAlreadyExists(f"{definition['Name']} is associated with {node_id} already.")
    if call.db.value(COUNT, **call.here) >= MOST:
        raise AssociationLimitExceeded(f"An account can have {MOST} associations in a region; delete one.")
    tagged = tags.mapping(request.get("Tags", ()))
    association_id = call.new_id()
    call.db.run(
        ADD,
        {
            **call.tenant,
            "association_id": association_id,
            "version": 1,
            **_columns(definition, document),
            "definition": definition,
            "created_at": call.now,
            "updated_at": call.now,
            "due_at": definitions.due_after(definition, association_id, call.now, call.now),
            "told_status": None,
            "counts": {},
            "open_executions": 0,
            "status": table.PENDING,
            "detailed_status": "Associated",
            "last_command_id": None,
            "last_executed_at": None,
            "last_succeeded_at": None,
        },
    )
    _add_version(call, association_id, 1, definition)
    tags.put(call, RESOURCE_TYPE, association_id, tagged)
    made = table.find(call, association_id)
    if not definition.get("ApplyOnlyAtCronInterval"):
        executions.begin(call, association_id, Cause.CREATED)
    return made


def _columns(definition: Mapping[str, Any], document: documents.ResolvedDocument) -> dict[str, Any]:
    """What is kept of a definition beside it, to be found by."""
    version = definition["DocumentVersion"]
    return {
        "name": definition["Name"],
        "document": document.name if document.owner != documents.OWNED_BY_AWS else "",
        "follows": version if version in (documents.DEFAULT, documents.LATEST) else "",
        "node_id": definition.get("InstanceId"),
        "association_name": definition.get("AssociationName"),
        "live": definitions.is_live(definition),
        "inventory": definitions.is_inventory(document),
    }


def _add_version(call: Call, association_id: str, version: int, definition: Mapping[str, Any]) -> None:
    row = {"association_id": association_id, "version": version, "definition": definition, "created_at": call.now}
    call.db.run(ADD_VERSION, {**call.tenant, **row})


def remember_due(call: Call, association_id: str, due_at: datetime | None) -> None:
    """When an association's schedule starts it next."""
    call.db.run(SET_DUE, table.key(call, association_id, due=due_at))


SET_DUE = update(table.associations).where(*table.THIS).values(due_at=bindparam("due", type_=UtcDateTime))
