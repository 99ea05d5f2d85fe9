"""LabelParameterVersion and UnlabelParameterVersion: names for versions, which move from one to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert

from fleetward.server.call import Call
from fleetward.server.schema import in_tenant
from fleetward.server.ssm import ssm
from fleetward.server.ssm.errors import (
    ParameterNotFound,
    ParameterVersionLabelLimitExceeded,
    ParameterVersionNotFound,
)
from fleetward.server.ssm.parameter_store import names, table
from fleetward.server.ssm.parameter_store.table import ParameterChanged, labels

MOST_LABELS = 10

ADD = insert(labels)
DROP = delete(labels).where(
    *in_tenant(labels), labels.c.name == bindparam("named"), labels.c.label == bindparam("of_label")
)


@ssm.operation("LabelParameterVersion", resources=table.named_one)
def label_parameter_version(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Put labels on a version, the latest by default; one that another version had moves here."""
    row, version = _version(call, request["Name"], request.get("ParameterVersion"))
    asked = list(dict.fromkeys(request["Labels"]))
    fitting = [label for label in asked if names.label_fits(label)]
    before = {each.label: each.version for each in call.db.all(table.LABELS_OF, **table.key(call, row.name))}
    if len({label for label, of in before.items() if of == version} | set(fitting)) > MOST_LABELS:
        raise ParameterVersionLabelLimitExceeded(f"A version can have {MOST_LABELS} labels at most.")
    for label in fitting:
        call.db.run(DROP, {**table.key(call, row.name), "of_label": label})
        call.db.run(ADD, {**call.tenant, "name": row.name, "label": label, "version": version})
    if fitting:
        call.emit(ParameterChanged(row.name))
    return {"InvalidLabels": [label for label in asked if label not in fitting], "ParameterVersion": version}


@ssm.operation("UnlabelParameterVersion", resources=table.named_one)
def unlabel_parameter_version(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Take labels off a version; those that it does not have are named as invalid."""
    row, version = _version(call, request["Name"], request["ParameterVersion"])
    before = {each.label: each.version for each in call.db.all(table.LABELS_OF, **table.key(call, row.name))}
    asked = list(dict.fromkeys(request["Labels"]))
    removed = [label for label in asked if before.get(label) == version]
    for label in removed:
        call.db.run(DROP, {**table.key(call, row.name), "of_label": label})
    if removed:
        call.emit(ParameterChanged(row.name))
    return {"RemovedLabels": removed, "InvalidLabels": [label for label in asked if label not in removed]}


def _version(call: Call, given: str, asked: int | None) -> tuple[Row[Any], int]:
    """The parameter, held for the change, and the number of its version."""
    named = names.read(given, call.account, call.region)
    found = (call.db.first(table.LOCK, **table.key(call, name)) for name in named.names)
    row = None if named.is_foreign or named.selector else next((each for each in found if each is not None), None)
    if row is None:
        raise ParameterNotFound(f"Parameter {given} not found.")
    version = asked or row.version
    known = 0 < version < 2**31 and call.db.first(table.FIND_VERSION, **table.key(call, row.name), number=version)
    if not known:
        raise ParameterVersionNotFound(f"Systems Manager could not find version {version} of {row.name}.")
    return row, version
