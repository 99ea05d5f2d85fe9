"""Admission: nodes made directly in a data folder before its server starts, with temporary keys of its key ring.

The entries are the server's own (`nodes.admit`, the first heartbeat's); left out is only the RSA key of each node.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from fleetward.server import app, beginning
from fleetward.server.call import Call, Caller, Context, Sent, service_context
from fleetward.server.iam import principals
from fleetward.server.keys import TemporaryCredentials, new_access_key_id, new_secret_access_key
from fleetward.server.service import Entry
from fleetward.server.settings import Settings
from fleetward.server.ssm import nodes
from fleetward.server.ssm.nodes import heartbeat

CHUNK = 500
LIFETIME = timedelta(hours=12)
FACTS = {
    "AgentName": "fleetward-simulator",
    "AgentStatus": "Active",
    "AgentVersion": "0.1.0.0",
    "IPAddress": "127.0.0.1",
    "PlatformName": "Simulated",
    "PlatformType": "Linux",
    "PlatformVersion": "1",
}

Identity = tuple[str, str, str, str, str]
"""Node id, computer name, access key id, secret, session token."""


def admit(data: Path, count: int, tags: Callable[[int], Mapping[str, str]] = lambda _: {}) -> list[Identity]:
    """Make `count` nodes in a data folder that no server uses; also the first start, so that root has its key.

    `tags` gives the tags of each, by its number from 1.
    """
    settings = Settings(data=data)
    application = app.Application(settings)
    try:
        created = beginning.first_start(application.runner, settings)
        if created is not None:
            beginning.write_root_credentials(settings, created)
        made: list[Identity] = []
        for first in range(0, count, CHUNK):
            numbers = range(first + 1, min(first + CHUNK, count) + 1)

            def entry(call: Call, _: Any, numbers: range = numbers) -> list[Identity]:
                return [_admit(call, number, tags(number)) for number in numbers]

            made += _run(application, settings, entry)
        return made
    finally:
        application.store.close()
        if application.lock is not None:
            application.lock.close()


def _admit(call: Call, number: int, tags: Mapping[str, str]) -> Identity:
    name = f"simulated-{number:05}"
    node_id = nodes.admit(
        call,
        nodes.Admission(
            activation_id="bench",
            iam_role="SSMServiceRole",
            name="",
            tags=tags,
            public_key=number.to_bytes(8, "big"),
            fingerprint="bench",
        ),
    )
    arn = principals.node_arn(call.account, call.region, node_id)
    key_id, secret = new_access_key_id("ASIA"), new_secret_access_key()
    token = call.keys.seal_token(
        TemporaryCredentials(
            access_key_id=key_id,
            secret_access_key=secret,
            principal=arn,
            kind="node",
            expires_at=call.now + LIFETIME,
            epoch=0,
            context={"account": call.account},
        )
    )
    context = Context(
        account=call.account,
        region=call.region,
        caller=Caller(kind="node", arn=arn, account=call.account, node_id=node_id),
    )
    heartbeat.update_instance_information(call, [Sent(context, {"InstanceId": node_id, "ComputerName": name, **FACTS})])
    return node_id, name, key_id, secret, token


def _run(application: app.Application, settings: Settings, function: Callable[[Call, Any], Any]) -> Any:
    outcomes: queue.SimpleQueue[Any] = queue.SimpleQueue()
    context = service_context(settings.account, settings.default_region)
    application.runner.submit(Entry("bench", function, audit=False), context, {}, outcomes.put)
    outcome = outcomes.get(timeout=120)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
