"""GetParameter, GetParameters, GetParametersByPath and GetParameterHistory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import bindparam, select

from fleetward.server import paging
from fleetward.server.call import Call, Resource
from fleetward.server.schema import in_tenant
from fleetward.server.ssm import ssm
from fleetward.server.ssm.errors import ParameterNotFound, ParameterVersionNotFound
from fleetward.server.ssm.parameter_store import filters, names, public, secrets, table
from fleetward.server.ssm.parameter_store.table import SAME_VERSION, SECURE, labels, parameters, versions

PATH_PAGE, HISTORY_PAGE = 10, 50

_HISTORY = (*in_tenant(versions), versions.c.name == bindparam("named"))
HISTORY = (
    select(versions)
    .where(*_HISTORY, versions.c.version > bindparam("after"))
    .order_by(versions.c.version)
    .limit(bindparam("most"))
)


def _path(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """GetParametersByPath is decided on the path: who may read it may read all below."""
    return (Resource(table.arn(call, f"{request['Path'].rstrip('/')}")),)


@ssm.operation("GetParameter", resources=table.named_one, reads=True, audience="both")
def get_parameter(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """One parameter, by name or ARN, as it is or of a version or label."""
    row, selector = search(call, request["Name"])
    return {"Parameter": shape(call, row, selector, reveal=request.get("WithDecryption", False))}


@ssm.operation("GetParameters", resources=table.named_many, reads=True, audience="both")
def get_parameters(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Up to ten parameters; names of none, and versions that are not there, come back as invalid."""
    found, invalid = [], []
    for name in dict.fromkeys(request["Names"]):
        try:
            row, selector = search(call, name)
        except (ParameterNotFound, ParameterVersionNotFound):
            invalid.append(name)
        else:
            found.append(shape(call, row, selector, reveal=request.get("WithDecryption", False)))
    return {"Parameters": found, "InvalidParameters": invalid}


@ssm.operation(
    "GetParametersByPath",
    resources=_path,
    conditions=lambda call, request: {"ssm:Recursive": "true" if request.get("Recursive") else "false"},
    reads=True,
    audience="both",
)
def get_parameters_by_path(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a level of the hierarchy, or of all below it, in order of name."""
    path, recursive = names.path(request["Path"]), request.get("Recursive", False)
    limit = request.get("MaxResults", PATH_PAGE)
    after = (paging.decode("GetParametersByPath", request.get("NextToken")) or [""])[0]
    asked = filters.of_path(request.get("ParameterFilters", ()))
    label = next((each for each in asked if each.key == "Label"), None)
    if path.startswith("/aws"):
        rows: list[Any] = [
            each
            for name, each in public.listed(call).items()
            if name > after and names.is_below(name, path, recursive=recursive)
        ]
        rows = [] if asked else rows[: limit + 1]
    else:
        source: Any = parameters if label is None else versions
        statement = select(source).where(*in_tenant(source), source.c.name > after)
        if label is not None:
            statement = statement.join(labels, SAME_VERSION[0] & SAME_VERSION[1] & SAME_VERSION[2] & SAME_VERSION[3])
            statement = statement.where(labels.c.label.in_(label.values))
        others = [filters.condition(each, source) for each in asked if each.key != "Label"]
        below = filters.below(source, path, recursive=recursive)
        rows = list(call.db.all(statement.where(*below, *others).order_by(source.c.name).limit(limit + 1), **call.here))
    page, more = paging.page("GetParametersByPath", rows, limit, lambda row: [row.name])
    reveal = request.get("WithDecryption", False)
    return {"Parameters": [shape(call, row, reveal=reveal) for row in page], **more}


@ssm.operation("GetParameterHistory", resources=table.named_one, reads=True)
def get_parameter_history(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The versions of a parameter that are kept, oldest first, with their labels."""
    limit, reveal = request.get("MaxResults", HISTORY_PAGE), request.get("WithDecryption", False)
    name = search(call, request["Name"])[0].name
    after = (paging.decode("GetParameterHistory", request.get("NextToken")) or [0])[0]
    rows = call.db.all(HISTORY, **table.key(call, name), after=after, most=limit + 1)
    page, more = paging.page("GetParameterHistory", rows, limit, lambda row: [row.version])
    own: dict[int, list[str]] = {}
    for each in call.db.all(table.LABELS_OF, **table.key(call, name)):
        own.setdefault(each.version, []).append(each.label)
    return {"Parameters": [_past(call, row, own.get(row.version, []), reveal) for row in page], **more}


def search(call: Call, given: str) -> tuple[Any, str]:
    """The row that a name, ARN or selector leads to, and the selector. Raises as GetParameter does."""
    named = names.read(given, call.account, call.region)
    for name in () if named.is_foreign else named.names:
        row = public.find(call, name) or table.find(call, name)
        if row is not None:
            return _of_version(call, row, named.selector), named.selector
    raise ParameterNotFound(f"Parameter {given} not found.")


def shape(call: Call, row: Any, selector: str = "", *, reveal: bool) -> dict[str, Any]:
    """AWS's Parameter of a row; a SecureString is shown in clear if asked for, and if its key lets the caller."""
    shown = {
        "Name": row.name,
        "Type": row.type,
        "Value": _value(call, row, reveal),
        "Version": row.version,
        "LastModifiedDate": row.changed_at,
        "ARN": table.arn(call, row.name),
        "DataType": row.data_type,
    }
    return {**shown, "Selector": f":{selector}"} if selector else shown


def metadata(call: Call, row: Any) -> dict[str, Any]:
    """What DescribeParameters and the history say about a row: all but the value."""
    shown = {
        "Name": row.name,
        "Type": row.type,
        "KeyId": row.key_id,
        "LastModifiedDate": row.changed_at,
        "LastModifiedUser": row.changed_by,
        "Description": row.description or None,
        "AllowedPattern": row.allowed_pattern or None,
        "Version": row.version,
        "Tier": row.tier,
        "Policies": list(row.policies),
        "DataType": row.data_type,
    }
    return {member: value for member, value in shown.items() if value is not None}


def _of_version(call: Call, row: Any, selector: str) -> Any:
    if not selector or selector == str(row.version):
        return row
    if isinstance(row, public.Public):
        found = None
    elif selector.isascii() and selector.isdigit():
        number = min(int(selector[:10]), 2**31 - 1)
        found = call.db.first(table.FIND_VERSION, **table.key(call, row.name), number=number)
    else:
        found = call.db.first(table.FIND_LABELLED, **table.key(call, row.name), of_label=selector)
    if found is None:
        raise ParameterVersionNotFound(f"Systems Manager could not find version {selector} of {row.name}.")
    return found


def _value(call: Call, row: Any, reveal: bool) -> str:
    if row.type == SECURE and reveal:
        return secrets.reveal(call, row.name, row.value)
    return str(row.value)


def _past(call: Call, row: Any, own: list[str], reveal: bool) -> dict[str, Any]:
    shown = {**metadata(call, row), "Value": _value(call, row, reveal)}
    return {**shown, "Labels": own} if own else shown
