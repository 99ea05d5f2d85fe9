"""Pipeline: who may call what, how errors are named, and in which order faults are found."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from fleetward.protocol import sigv4
from fleetward.protocol.sigv4 import Credentials
from tests.serving import REGION, Answer, Node, ServerProcess, StartServer


@pytest.mark.parametrize(("minutes", "good"), [(-6, False), (-4, True), (0, True), (4, True), (6, False)])
def test_clocks_may_differ_by_five_minutes(serving: ServerProcess, minutes: int, good: bool) -> None:
    """Both ways; beyond, the message says which time it is here."""
    answer = serving.call("ListNodes", {}, serving.root, skew=timedelta(minutes=minutes))
    assert answer.code == ("" if good else "InvalidSignatureException")
    if not good:
        assert datetime.now(UTC).strftime("%Y%m%dT%H") in answer.message


def test_an_unknown_key_is_not_ours(serving: ServerProcess) -> None:
    """Neither a long-lived nor a temporary one; a token belongs to its own key alone."""
    for keys in (
        Credentials("AKIAAAAAAAAAAAAAAAAA", "x" * 40),
        Credentials("ASIAAAAAAAAAAAAAAAAA", "x" * 40),
        Credentials("mi-00000000000000000", "x" * 40),
        Credentials("ASIAAAAAAAAAAAAAAAAA", "x" * 40, "FWT1bm9uc2Vuc2U="),
        Credentials("ASIAAAAAAAAAAAAAAAAA", "x" * 40, serving.role("ReadOnly").session_token),
        Credentials("", "x"),
    ):
        answer = serving.call("ListNodes", {}, keys)
        assert answer.status == 400
        assert answer.code in (
            "UnrecognizedClientException",
            "InvalidSignatureException",
            "IncompleteSignatureException",
        )


def test_a_secret_that_does_not_match_is_an_invalid_signature(serving: ServerProcess) -> None:
    """The key exists, the secret is another."""
    wrong = Credentials(serving.root.access_key_id, "x" * 40)
    assert serving.call("ListNodes", {}, wrong).code == "InvalidSignatureException"


def test_parts_of_a_signature_are_incomplete(serving: ServerProcess) -> None:
    """A header that cannot be read as a signature."""
    for authorization in ("AWS4-HMAC-SHA256", "Basic eDp5", "AWS4-HMAC-SHA256 Credential=a/b, Signature=c"):
        answer = serving.call("ListNodes", {}, None, headers={"Authorization": authorization})
        assert answer.code == "IncompleteSignatureException", answer


def test_a_presigned_request_is_answered(serving: ServerProcess) -> None:
    """The signature in the query: a form's query as identity proofs send it, and a JSON call."""
    options = {"headers": {"Host": f"{serving.host}:{serving.port}"}, "region": REGION, "now": datetime.now(UTC)}
    query = sigv4.presign_query(
        serving.root,
        method="GET",
        url_path="/",
        query="Action=GetCallerIdentity&Version=2011-06-15",
        service="sts",
        **options,  # type: ignore[arg-type]
    )
    answer = serving.raw("GET", f"/?{query}", headers={"Host": f"{serving.host}:{serving.port}"})
    assert b":root</Arn>" in answer.body
    assert serving.raw("GET", f"/?{query[:-1]}x", headers=options["headers"]).status in (400, 403)  # type: ignore[arg-type]
    payload_hash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # of {}
    options["headers"] = {**options["headers"], "X-Amz-Target": "AmazonSSM.ListNodes"}  # type: ignore[dict-item]
    query = sigv4.presign_query(
        serving.root,
        method="POST",
        url_path="/",
        service="ssm",
        payload_hash=payload_hash,
        **options,  # type: ignore[arg-type]
    )
    headers = {**options["headers"], "X-Amz-Content-Sha256": payload_hash}  # type: ignore[dict-item]
    assert "Nodes" in serving.raw("POST", f"/?{query}", b"{}", headers).json


def test_another_region_is_refused_naming_those_served(start_server: StartServer) -> None:
    """The sentence helps whoever mistyped; a second region is served by the same port, apart from the first."""
    server = start_server("--region", "us-east-1", "--region", "eu-central-1")
    answer = server.call("ListNodes", {}, server.root, region="ap-south-1")
    assert (answer.status, answer.code) == (400, "InvalidSignatureException")
    assert "us-east-1, eu-central-1" in answer.message
    node = server.join(1)
    assert len(server.call("ListNodes", {}, server.root).json["Nodes"]) == 1
    assert server.call("ListNodes", {}, server.root, region="eu-central-1").json["Nodes"] == []
    elsewhere = node.call("UpdateInstanceInformation", {"InstanceId": node.node_id}, region="eu-central-1")
    assert elsewhere.status == 400, "a node's keys are good in its own region alone"


def test_a_signature_for_another_service_is_refused(serving: ServerProcess) -> None:
    """The scope's service is the one of the operation."""
    answer = serving.call("ListNodes", {}, serving.root, scope="sts")
    assert (answer.code, "'ssm'" in answer.message) == ("InvalidSignatureException", True)


def test_operations_not_offered_are_unknown(serving: ServerProcess) -> None:
    """Those of the model say that they are not offered yet, others that there are none; both are HTTP 400."""
    for operation, words in (
        ("CreateOpsItem", "not offered by this server yet"),
        ("Nothing", "no operation 'Nothing'"),
    ):
        answer = serving.call(operation, {}, serving.root)
        assert (answer.status, answer.code) == (400, "UnknownOperationException")
        assert words in answer.message
    answer = serving.form({"Action": "ListSAMLProviders", "Version": "2010-05-08"}, serving.root, service="iam")
    assert answer.status == 400


def test_the_readonly_role_reads_and_does_not_write(serving: ServerProcess) -> None:
    """AWS's wording: who, which action, which resource, why."""
    keys = serving.role("ReadOnly")
    for operation in ("ListNodes", "DescribeActivations", "ListCommands"):
        assert serving.call(operation, {}, keys).status == 200
    answer = serving.call("CreateActivation", {"IamRole": "SSMServiceRole"}, keys)
    assert (answer.status, answer.code) == (400, "AccessDeniedException")
    assert answer.message == (
        "User: arn:aws:sts::123456789012:assumed-role/ReadOnly/tester is not authorized to perform: "
        "ssm:CreateActivation on resource: * because no identity-based policy allows the ssm:CreateActivation action"
    )


def test_access_is_denied_before_a_request_is_validated(serving: ServerProcess) -> None:
    """Who may not call an operation learns nothing of its rules."""
    answer = serving.call("SendCommand", {"DocumentName": "\0", "Comment": "x" * 1000}, serving.role("ReadOnly"))
    assert answer.code == "AccessDeniedException"


def test_a_session_policy_narrows_its_role(serving: ServerProcess) -> None:
    """To one node here: the role may do everything."""
    first, second = serving.join(1), serving.join(2)
    statement = {
        "Effect": "Allow",
        "Action": ["ssm:SendCommand"],
        "Resource": [f"arn:aws:ssm:*:*:managed-instance/{first.node_id}", "arn:aws:ssm:*:*:document/*"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    keys = serving.role("Administrator", Policy=policy)
    request = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}}
    assert serving.call("SendCommand", {**request, "InstanceIds": [first.node_id]}, keys).status == 200
    denied = serving.call("SendCommand", {**request, "InstanceIds": [second.node_id]}, keys)
    assert denied.code == "AccessDeniedException"
    assert second.node_id in denied.message
    assert serving.call("ListNodes", {}, keys).code == "AccessDeniedException"


def test_a_nodes_own_key_signs_only_what_needs_it(serving: ServerProcess) -> None:
    """RSA for its token and key; its temporary keys for the rest."""
    node = serving.join(1)
    answer = node.by_key("UpdateInstanceInformation", {"InstanceId": node.node_id})
    assert answer.code == "UnrecognizedClientException"
    answer = node.call("RequestManagedInstanceRoleToken", {"Fingerprint": "first"})
    assert answer.code == "UnrecognizedClientException"
    stranger = Node(serving, "mi-0123456789abcdef0", node.key)
    assert (
        stranger.by_key("RequestManagedInstanceRoleToken", {"Fingerprint": "x"}).code == "UnrecognizedClientException"
    )


def test_a_node_signs_by_its_own_key_not_anothers(serving: ServerProcess) -> None:
    """One node's name with another's key."""
    first, second = serving.join(1), serving.join(2)
    forged = Node(serving, first.node_id, second.key)
    assert (
        forged.by_key("RequestManagedInstanceRoleToken", {"Fingerprint": "first"}).code == "InvalidSignatureException"
    )


def test_errors_come_in_the_protocol_that_was_asked(serving: ServerProcess, node: Node) -> None:
    """JSON with __type, XML of the query protocol with its own names, rest-xml named by its root."""

    def first_bytes(answer: Answer) -> bytes:
        return answer.body[:20]

    assert first_bytes(serving.call("ListNodes", {}, None)).startswith(b'{"__type"')
    unsigned = serving.form({"Action": "GetCallerIdentity", "Version": "2011-06-15"}, None)
    assert (unsigned.status, unsigned.code) == (403, "MissingAuthenticationToken")
    assert serving.create_channel(node.node_id, None).body.startswith(b"<MissingAuthenticationTokenException>")


def test_every_answer_has_its_own_request_id(serving: ServerProcess) -> None:
    """Good ones and errors."""
    ids = {serving.call(operation, {}, serving.root).headers["x-amzn-requestid"] for operation in ("ListNodes", "No")}
    assert len(ids) == 2


def test_overload_is_throttling(start_server: StartServer) -> None:
    """Per principal and per node: another one's calls go on."""
    server = start_server(requests_per_principal=1.0, requests_per_node=0.2)
    keys = server.role("ReadOnly")
    codes = {server.call("ListNodes", {}, keys).code for _ in range(12)}
    assert codes == {"", "ThrottlingException"}
    assert server.form({"Action": "GetCallerIdentity", "Version": "2011-06-15"}, keys).code == "Throttling"
    assert server.call("DescribeActivations", {}, server.role("Administrator")).status == 200
    answers = [server.call("RegisterManagedInstance", {}, None) for _ in range(4)]
    assert answers[-1].code == "ThrottlingException"
    assert answers[-1].message == "Rate exceeded"
