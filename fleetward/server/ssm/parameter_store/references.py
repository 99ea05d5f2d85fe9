"""`{{ssm:name}}` in documents and their parameters: whether what is named is there, before a node looks."""

from __future__ import annotations

from typing import Any

from fleetward.protocol.document import ssm_references
from fleetward.server.call import Call
from fleetward.server.ssm.errors import InvalidParameters, ParameterNotFound, ParameterVersionNotFound
from fleetward.server.ssm.parameter_store import reading, table


def check(call: Call, value: Any) -> None:
    """Raise InvalidParameters when a reference within `value` names nothing, or a SecureString.

    The node resolves them, with its own rights. Ours: a caller who may not read a parameter is told nothing about it.
    """
    for name, version in sorted(ssm_references(value), key=str):
        decision = call.decide("ssm:GetParameters", table.resource(call, name))
        if decision is not None and not decision.allowed:
            continue
        given = f"{name}:{version}" if version else name
        try:
            row, _ = reading.search(call, given)
        except (ParameterNotFound, ParameterVersionNotFound) as fault:
            raise InvalidParameters(f"{{{{ssm:{given}}}}}: {fault.message}") from fault
        if row.type == table.SECURE:
            raise InvalidParameters(f"{{{{ssm:{given}}}}}: a SecureString cannot be used here.")
