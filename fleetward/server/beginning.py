"""The beginning: what an account has from the first start on, and root's key, its secret told once."""

from __future__ import annotations

import json
import os
import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fleetward.server import ephemeral, keys, kms
from fleetward.server.call import Call, service_context
from fleetward.server.iam import principals
from fleetward.server.service import Entry, Runner
from fleetward.server.settings import Settings

CREDENTIALS = "root-credentials.json"


def furnish(call: Call) -> None:
    """What an account has from the beginning, its root's key apart; what is there already stays."""
    principals.create_first_roles(call)
    kms.create_managed_keys(call)


def start_over(call: Call, request: Any) -> None:
    """Entry: all is as after the first start; root's key stays."""
    ephemeral.empty(call)
    furnish(call)


def first_start(runner: Runner, settings: Settings) -> dict[str, str] | None:
    """Create the account's first roles and keys and root's access key, whose secret is returned the first time only."""

    def entry(call: Call, _: Any) -> dict[str, str] | None:
        furnish(call)
        if principals.root_key_ids(call):
            return None
        return _new_root_key(call)

    created: dict[str, str] | None = run_now(runner, settings, entry)
    return created


def reset_root(runner: Runner, settings: Settings) -> dict[str, str]:
    """Switch root's keys off and create a new one."""

    def entry(call: Call, _: Any) -> dict[str, str]:
        call.db.run(principals.DISABLE_KEYS, {"of_principal": principals.root_arn(call.account)})
        principals.revoke(call, principals.root_arn(call.account))
        return _new_root_key(call)

    created: dict[str, str] = run_now(runner, settings, entry)
    return created


def _new_root_key(call: Call) -> dict[str, str]:
    key_id, secret = keys.new_access_key_id("AKIA"), keys.new_secret_access_key()
    principals.add_access_key(call, key_id, secret, principals.root_arn(call.account), call.account)
    return {"access_key_id": key_id, "secret_access_key": secret}


def run_now(runner: Runner, settings: Settings, function: Callable[[Call, Any], Any]) -> Any:
    """Run `function` as an entry of the default tenant, before the loop exists, and wait for its commit."""
    outcomes: queue.SimpleQueue[Any] = queue.SimpleQueue()
    context = service_context(settings.account, settings.default_region)
    runner.submit(Entry("start", function, audit=False), context, {}, outcomes.put)
    outcome = outcomes.get(timeout=60)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def write_root_credentials(settings: Settings, created: dict[str, str]) -> Path:
    """Keep root's first key in a file that only this user reads; its path is printed, never the secret."""
    file = settings.data / CREDENTIALS
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        json.dump({**created, "account": settings.account, "region": settings.default_region}, stream, indent=1)
    return file
