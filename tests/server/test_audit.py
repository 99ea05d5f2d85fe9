"""Audit: what is recorded, without what must stay secret, in a chain that shows every change."""

from __future__ import annotations

import json
import sqlite3
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, update

from fleetward.protocol.api.model import load_service
from fleetward.server import audit
from fleetward.server.service import Entry
from tests.serving import Node, ServerProcess, eventually

HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"


def recorded(server: ServerProcess, name: str, **wanted: Any) -> list[dict[str, Any]]:
    """The records of an operation in the server's database, oldest first, whose members are the wanted ones."""
    connection = sqlite3.connect(f"file:{server.data}/fleetward.db?mode=ro", uri=True)
    rows = connection.execute("SELECT body FROM audit_records ORDER BY at").fetchall()
    connection.close()
    found = [json.loads(body) for (body,) in rows]
    return [each for each in found if each["eventName"] == name and wanted.items() <= each.items()]


def test_a_changing_call_is_recorded_in_cloudtrails_form(serving: ServerProcess) -> None:
    """Who, what, when, from where, with which request id."""
    answer = serving.call("CreateActivation", {"IamRole": "SSMServiceRole", "Description": "audited"}, serving.root)
    (record,) = recorded(serving, "CreateActivation", requestID=answer.headers["x-amzn-requestid"])
    assert record["requestParameters"] == {"IamRole": "SSMServiceRole", "Description": "audited"}
    assert record["eventSource"] == "ssm.amazonaws.com"
    assert record["readOnly"] is False
    assert record["sourceIPAddress"] == "127.0.0.1"
    assert record["userIdentity"] == {
        "type": "root",
        "arn": "arn:aws:iam::123456789012:root",
        "accountId": "123456789012",
        "accessKeyId": serving.root.access_key_id,
    }


def test_a_denial_is_recorded_also_of_a_node(serving: ServerProcess, node: Node, other_node: Node) -> None:
    """With its error, under the principal that was refused."""
    answer = serving.call("CreateActivation", {"IamRole": "SSMServiceRole"}, serving.role("ReadOnly"))
    request_id = answer.headers["x-amzn-requestid"]
    (record,) = eventually(lambda: recorded(serving, "CreateActivation", requestID=request_id))
    assert record["errorCode"] == "AccessDeniedException"
    assert "ssm:CreateActivation" in record["errorMessage"]
    answer = node.call("UpdateInstanceInformation", {"InstanceId": other_node.node_id})
    request_id = answer.headers["x-amzn-requestid"]
    (record,) = eventually(lambda: recorded(serving, "UpdateInstanceInformation", requestID=request_id))
    assert record["userIdentity"]["arn"].endswith(node.node_id)


def test_a_read_is_recorded_a_little_later(serving: ServerProcess) -> None:
    """In batches, marked as reading."""
    answer = serving.call("ListNodes", {}, serving.root)
    (record,) = eventually(lambda: recorded(serving, "ListNodes", requestID=answer.headers["x-amzn-requestid"]))
    assert record["readOnly"] is True


def test_node_calls_are_recorded_when_they_change_trust(serving: ServerProcess) -> None:
    """Registration and a new key; not heartbeats and tokens."""
    from tests.serving import public_text

    node = serving.join(1)
    node.beat()
    request = {"NewPublicKey": public_text(node.key), "NewPublicKeyType": "Rsa"}
    answer = node.by_key("UpdateManagedInstancePublicKey", request)
    assert recorded(serving, "UpdateManagedInstancePublicKey", requestID=answer.headers["x-amzn-requestid"])
    (heartbeats, tokens) = (
        recorded(serving, n) for n in ("UpdateInstanceInformation", "RequestManagedInstanceRoleToken")
    )
    assert [each for each in (*heartbeats, *tokens) if "errorCode" not in each] == []


def test_no_secret_is_recorded(serving: ServerProcess) -> None:
    """Activation codes, session tokens and parameters of commands are hidden or absent."""
    node = serving.join(1)
    activation_id, code = serving.activation()
    bad = {"ActivationId": activation_id, "ActivationCode": code, "PublicKey": "x" * 200, "PublicKeyType": "Rsa"}
    serving.call("RegisterManagedInstance", {**bad, "Fingerprint": "x"}, None)
    password = "correct-horse-battery"
    request = {
        "InstanceIds": [node.node_id],
        "DocumentName": "AWS-RunShellScript",
        "Parameters": {"commands": [password]},
    }
    sent = serving.call("SendCommand", request, serving.root)
    (record,) = recorded(serving, "SendCommand", requestID=sent.headers["x-amzn-requestid"])
    assert record["requestParameters"]["Parameters"] == HIDDEN
    registered = recorded(serving, "RegisterManagedInstance")
    assert registered
    assert {each["requestParameters"]["ActivationCode"] for each in registered} == {HIDDEN}
    text = json.dumps(
        [recorded(serving, name) for name in ("RegisterManagedInstance", "CreateActivation", "SendCommand")]
    )
    assert code not in text
    assert password not in text


def test_redaction_hides_what_the_model_marks_and_bounds_the_rest() -> None:
    """Names stay, long values are cut, unknown members go."""
    shape = load_service("ssm").operations["SendCommand"].input
    request = {
        "DocumentName": "x" * 5000,
        "InstanceIds": ["mi-1"] * 500,
        "Parameters": {"a": ["b"]},
        "TimeoutSeconds": 60,
        "Unknown": "u",
    }
    kept = audit.redact(shape, request)
    assert kept["Parameters"] == HIDDEN
    assert (len(kept["DocumentName"]), len(kept["InstanceIds"])) == (1024, 100)
    assert kept["TimeoutSeconds"] == 60
    assert "Unknown" not in kept
    assert audit.redact(None, request) is None


def write(world: Any, number: int) -> None:
    """Some records, each a moment after the one before."""
    entry = Entry("ssm:Test", lambda call: None)
    for _ in range(number):
        world.clock.advance(timedelta(seconds=1))
        world.entry(lambda call: audit.record(call, entry, {"n": 1}, None))()


def chain(world: Any) -> list[Any]:
    """The sealed records."""
    rows: list[Any] = world.do(
        lambda call: list(call.db.all(audit.CHAIN, account=world.account, in_region=world.region, after=0, most=10_000))
    )
    return rows


@pytest.fixture
def sealed(world: Any) -> Any:
    """A world with ten records, sealed in two goes."""
    write(world, 6)
    world.entry(audit.seal)()
    write(world, 4)
    world.entry(audit.seal)()
    return world


def test_records_are_chained_in_order(sealed: Any) -> None:
    """Numbers without gaps; the chain holds."""
    rows = chain(sealed)
    assert [row.sequence for row in rows] == list(range(1, 11))
    assert [row.at for row in rows] == sorted(row.at for row in rows)
    assert audit.first_break(rows) is None


@pytest.mark.parametrize("number", [1, 5, 10])
def test_a_changed_record_breaks_the_chain(sealed: Any, number: int) -> None:
    """A single character of a body."""
    body = next(row.body for row in chain(sealed) if row.sequence == number)
    change = update(audit.records).where(audit.records.c.sequence == number).values(body=body.replace("1", "2", 1))
    sealed.do(lambda call: call.db.run(change))
    assert audit.first_break(chain(sealed)) == number


@pytest.mark.parametrize("number", [2, 5, 9])
def test_a_removed_record_breaks_the_chain(sealed: Any, number: int) -> None:
    """The gap is found where it begins."""
    sealed.do(lambda call: call.db.run(delete(audit.records).where(audit.records.c.sequence == number)))
    assert audit.first_break(chain(sealed)) == number


def test_old_records_are_forgotten_and_the_chain_goes_on(sealed: Any) -> None:
    """What is left still verifies, and so does what comes after."""
    sealed.clock.advance(timedelta(days=sealed.settings.keep_audit) - timedelta(seconds=5, milliseconds=500))
    sealed.entry(audit.forget)()
    write(sealed, 2)
    sealed.entry(audit.seal)()
    rows = chain(sealed)
    assert [row.sequence for row in rows] == [5, 6, 7, 8, 9, 10, 11, 12]
    assert audit.first_break(rows) is None
