"""PutParameter, DeleteParameter and DeleteParameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import regex
from sqlalchemy import Row

from fleetward.server.call import Call, Resource
from fleetward.server.errors import ValidationException
from fleetward.server.iam import context as keys_of
from fleetward.server.iam.context import Conditions
from fleetward.server.ssm import service_settings, ssm, tags
from fleetward.server.ssm.errors import (
    HierarchyTypeMismatchException,
    InvalidAllowedPatternException,
    ParameterAlreadyExists,
    ParameterLimitExceeded,
    ParameterMaxVersionLimitExceeded,
    ParameterNotFound,
    ParameterPatternMismatchException,
    TooManyTagsError,
    TooManyUpdates,
)
from fleetward.server.ssm.parameter_store import names, policies, secrets, table
from fleetward.server.ssm.parameter_store.table import ADVANCED, SECURE, STANDARD, ParameterChanged

DEFAULT_TIER = "/ssm/parameter-store/default-parameter-tier"
MOST_VERSIONS = 100
LARGEST = {STANDARD: 4096, ADVANCED: 8192}
MOST = {STANDARD: 10_000, ADVANCED: 100_000}
MATCH_SECONDS = 0.05
IMAGE = re.compile(r"ami-[0-9a-f]{8}(?:[0-9a-f]{9})?")
TEXT, EC2_IMAGE, INTEGRATION = "text", "aws:ec2:image", "aws:ssm:integration"


def _conditions(call: Call, request: Mapping[str, Any]) -> Conditions:
    return {
        **keys_of.tags_of("Tags")(call, request),
        "ssm:Overwrite": "true" if request.get("Overwrite") else "false",
        "ssm:Policies": "true" if request.get("Policies") else "false",
    }


@ssm.operation("PutParameter", resources=table.named_one, conditions=_conditions, grows=True)
def put_parameter(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Make a parameter, or give one that is there another value: its next version."""
    name = _name(call, request["Name"])
    names.check(name)
    labelled = _tags(call, name, request)
    row = call.db.first(table.LOCK, **table.key(call, name))
    if row is not None and not request.get("Overwrite"):
        raise ParameterAlreadyExists(
            "The parameter already exists. To overwrite this value, set the overwrite option in the request to true."
        )
    content = _content(call, name, row, request)
    version = 1 if row is None else row.version + 1
    due = policies.next_due(content["policies"], call.now)
    if row is None:
        fresh = {**call.tenant, "name": name, "version": version, "folder": names.folder(name), "due_at": due}
        if not call.db.run(table.ADD, {**fresh, **content}):
            raise TooManyUpdates(f"Another call has just made {name}; try again.")
        tags.put(call, table.RESOURCE_TYPE, name, labelled)
    else:
        _make_room(call, name)
        changed = {f"to_{member}": value for member, value in {**content, "version": version, "due_at": due}.items()}
        call.db.run(table.CHANGE, {**table.key(call, name), **changed})
    call.db.run(table.ADD_VERSION, {**call.tenant, "name": name, "version": version, **content})
    call.emit(ParameterChanged(name))
    return {"Version": version, "Tier": content["tier"]}


@ssm.operation("DeleteParameter", resources=table.named_one)
def delete_parameter(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Take a parameter away, with its versions, labels and tags."""
    if not table.remove(call, _name(call, request["Name"])):
        raise ParameterNotFound(f"Parameter {request['Name']} not found.")
    return {}


@ssm.operation("DeleteParameters", resources=table.named_many)
def delete_parameters(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Take away as many as are there; the others are named as invalid."""
    asked = list(dict.fromkeys(request["Names"]))
    gone = [name for name in asked if table.remove(call, _name(call, name))]
    return {"DeletedParameters": gone, "InvalidParameters": [name for name in asked if name not in gone]}


def _name(call: Call, given: str) -> str:
    """The name that a changing call gives, by itself or as an ARN of this account and region."""
    named = names.read(given, call.account, call.region)
    if named.selector or named.is_foreign:
        raise ValidationException(
            f"{given!r} must be a name, or an ARN of this account and region, without version or label."
        )
    return next((name for name in named.names if table.exists(call, name)), named.names[0])


def _tags(call: Call, name: str, request: Mapping[str, Any]) -> dict[str, str]:
    given = request.get("Tags", ())
    if given and request.get("Overwrite"):
        raise ValidationException(
            "Tags and Overwrite cannot be used together. Change the tags of a parameter by AddTagsToResource."
        )
    try:
        found = tags.mapping(given)
    except TooManyTagsError as fault:  # the model does not let this operation say so
        raise ValidationException(fault.message) from None
    if found:
        asked = keys_of.tags_of("Tags")(call, request)
        call.authorize("ssm:AddTagsToResource", Resource(table.arn(call, name)), asked)
    return found


def _content(call: Call, name: str, row: Row[Any] | None, request: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of the version that a request asks for; what it leaves out stays as it was."""
    kind, value = _kind(row, request), request["Value"]
    data_type = request.get("DataType") or (row.data_type if row is not None else TEXT)
    pattern = request.get("AllowedPattern", row.allowed_pattern if row is not None else "")
    kept = row.policies if row is not None else []
    wanted = policies.read(request["Policies"]) if request.get("Policies") else _again(kept)
    tier = _tier(call, row, request, len(value.encode()), bool(wanted))
    _check_value(value, kind, data_type, pattern)
    key_id = None
    if kind == SECURE:
        key_id = request.get("KeyId") or (row.key_id if row is not None else None) or secrets.DEFAULT_KEY
        value = secrets.seal(call, name, key_id, tier, value)
    elif request.get("KeyId"):
        raise ValidationException("KeyId is for parameters of the type SecureString alone.")
    return {
        "type": kind,
        "value": value,
        "key_id": key_id,
        "tier": tier,
        "data_type": data_type,
        "description": request.get("Description", row.description if row is not None else ""),
        "allowed_pattern": pattern,
        "policies": wanted,
        "changed_at": call.now,
        "changed_by": call.caller.arn,
    }


def _again(kept: list[dict[str, str]]) -> list[dict[str, str]]:
    """The policies of the version before, none of them done for the new value."""
    return [{**each, "PolicyStatus": policies.PENDING} for each in kept]


def _kind(row: Row[Any] | None, request: Mapping[str, Any]) -> str:
    kind = request.get("Type") or (row.type if row is not None else None)
    if kind is None:
        raise ValidationException("A parameter type is required when you create a parameter.")
    if row is not None and kind != row.type:
        raise HierarchyTypeMismatchException(
            f"The parameter is of the type {row.type}, which cannot be changed; delete it first."
        )
    return str(kind)


def _tier(call: Call, row: Row[Any] | None, request: Mapping[str, Any], size: int, has_policies: bool) -> str:
    """Standard or Advanced: as asked for, by what the parameter needs, or as it was."""
    asked = request.get("Tier") or service_settings.value(call, DEFAULT_TIER)
    was = row.tier if row is not None else None
    if was == ADVANCED:
        if request.get("Tier") == STANDARD:
            raise ValidationException("An advanced parameter cannot become a standard one; delete and make it anew.")
        tier = ADVANCED
    elif asked in (STANDARD, ADVANCED):
        tier = asked
    else:
        full = was is None and _count(call, STANDARD) >= MOST[STANDARD]
        tier = ADVANCED if full or has_policies or size > LARGEST[STANDARD] else STANDARD
    if not 1 <= size <= LARGEST[tier]:
        raise ValidationException(f"The value of a {tier} parameter has 1 to {LARGEST[tier]} bytes, not {size}.")
    if has_policies and tier == STANDARD:
        raise ValidationException("Policies are for advanced parameters; ask for Tier Advanced.")
    if was != tier and _count(call, tier) >= MOST[tier]:
        raise ParameterLimitExceeded(f"There are {MOST[tier]} {tier} parameters already.")
    return tier


def _count(call: Call, tier: str) -> int:
    return int(call.db.value(table.COUNT, **call.here, of=tier))


def _check_value(value: str, kind: str, data_type: str, pattern: str) -> None:
    if data_type not in (TEXT, EC2_IMAGE, INTEGRATION):
        raise ValidationException(f"DataType is {TEXT}, {EC2_IMAGE} or {INTEGRATION}.")
    if data_type == EC2_IMAGE and (kind != table.TEXT or IMAGE.fullmatch(value) is None):
        raise ValidationException(f"A parameter of {EC2_IMAGE} is a String with the id of an image, ami-….")
    if data_type == INTEGRATION and kind != SECURE:
        raise ValidationException(f"A parameter of {INTEGRATION} is a SecureString.")
    if "{{" in value and kind != SECURE:
        raise ValidationException("Parameter value can't nest another parameter: it must not contain {{.")
    if not pattern:
        return
    try:
        fits = regex.fullmatch(pattern, value, timeout=MATCH_SECONDS) is not None
    except TimeoutError:
        fits = False
    except regex.error as fault:
        raise InvalidAllowedPatternException(f"AllowedPattern is no regular expression: {fault}") from None
    if not fits:
        raise ParameterPatternMismatchException("The value does not fit the parameter's AllowedPattern.")


def _make_room(call: Call, name: str) -> None:
    """Forget the oldest of 100 versions, unless somebody has put a label on it."""
    if call.db.value(table.VERSION_COUNT, **table.key(call, name)) < MOST_VERSIONS:
        return
    oldest = call.db.value(table.OLDEST, **table.key(call, name))
    if any(row.version == oldest for row in call.db.all(table.LABELS_OF, **table.key(call, name))):
        raise ParameterMaxVersionLimitExceeded(
            f"The parameter has {MOST_VERSIONS} versions, and version {oldest}, the oldest, has a label: move it first."
        )
    call.db.run(table.DROP_VERSION, {**table.key(call, name), "number": oldest})
