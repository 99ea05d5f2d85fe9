"""Key policies: each key has one, named `default`, and nothing goes without its word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, update

from fleetward.server.call import Call
from fleetward.server.kms import kms
from fleetward.server.kms.errors import NotFoundException
from fleetward.server.kms.keys import require_policy
from fleetward.server.kms.table import THIS_KEY, keys, marker, of_key, page, search, search_changeable

NAME = "default"
SET_POLICY = update(keys).where(*THIS_KEY).values(policy=bindparam("text"))


def _conditions(call: Call, request: Mapping[str, Any]) -> dict[str, str]:
    bypass = request.get("BypassPolicyLockoutSafetyCheck", False)
    return {"kms:BypassPolicyLockoutSafetyCheck": "true" if bypass else "false"}


@kms.operation("PutKeyPolicy", resources=of_key, resource_policies=True, conditions=_conditions)
def put_key_policy(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Replace a key's policy, unless the caller could not do so again."""
    found = search_changeable(call, request["KeyId"])
    _require_name(request)
    policy, lockout_is_fine = request["Policy"], request.get("BypassPolicyLockoutSafetyCheck", False)
    require_policy(call, policy, lockout_is_fine=lockout_is_fine)
    call.db.run(SET_POLICY, {**call.here, "key": found.row.key_id, "text": policy})
    return {}


@kms.operation("GetKeyPolicy", resources=of_key, resource_policies=True, reads=True)
def get_key_policy(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A key's policy as it was put."""
    found = search(call, request["KeyId"], by_alias=False)
    _require_name(request)
    return {"Policy": found.row.policy, "PolicyName": NAME}


@kms.operation("ListKeyPolicies", resources=of_key, resource_policies=True, reads=True)
def list_key_policies(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The names of a key's policies: `default`."""
    search(call, request["KeyId"], by_alias=False)
    (after,) = marker("ListKeyPolicies", request) or [""]
    shown, more = page("ListKeyPolicies", [NAME] if after < NAME else [], request.get("Limit", 1), lambda name: [name])
    return {"PolicyNames": shown, **more}


def _require_name(request: Mapping[str, Any]) -> None:
    if request.get("PolicyName", NAME) != NAME:
        raise NotFoundException(f"No policy {request['PolicyName']!r}: a key's only policy is named {NAME!r}.")
