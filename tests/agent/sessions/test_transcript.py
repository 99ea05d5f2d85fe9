"""Transcripts: handed to S3 and CloudWatch Logs, at the end or on the way; no session without encryption asked for."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.agent.sessions.far_end import SESSION_ID, FarEnd, commands, content, with_session

ENCRYPTED = (
    b"<ServerSideEncryptionConfiguration><SSEAlgorithm>AES256</SSEAlgorithm></ServerSideEncryptionConfiguration>"
)
UNENCRYPTED = b"<Error><Code>ServerSideEncryptionConfigurationNotFoundError</Code><Message>none</Message></Error>"


def document(text: str, **inputs: Any) -> dict[str, Any]:
    """A document that runs commands and keeps a log."""
    return {**commands(text), "inputs": inputs}


def storing(far: FarEnd, encryption: tuple[int, bytes] = (200, ENCRYPTED), groups: list[Any] | None = None) -> None:
    """Answer as S3 and CloudWatch Logs do."""

    def answer(request: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if "?encryption=" in request:
            return encryption
        if headers.get("x-amz-target", "").endswith("DescribeLogGroups"):
            return 200, json.dumps({"logGroups": groups or []}).encode()
        return 200, b"{}"

    far.answer = answer


def test_the_transcript_goes_to_the_bucket_and_is_named(tmp_path: Path) -> None:
    async def work(far: FarEnd) -> None:
        storing(far)
        result = await far.ended()
        assert (result["bucket"], result["key"]) == ("logs", f"a/b/{SESSION_ID}.log")

    inputs = {"s3BucketName": "logs", "s3KeyPrefix": "/a/b/", "s3EncryptionEnabled": True}
    far = with_session(tmp_path, content(document("echo grüße", **inputs)), work)
    ((_, _, body),) = [each for each in far.requests if each[0] == f"PUT /logs/a/b/{SESSION_ID}.log HTTP/1.1"]
    assert body.decode() == "grüße\r\n"
    assert list(far.state.transcripts.iterdir()) == []


def test_a_bucket_that_does_not_answer_changes_nothing_for_the_session(tmp_path: Path) -> None:
    async def work(far: FarEnd) -> None:
        far.answer = lambda *_: (403, b"<Error><Code>AccessDenied</Code></Error>")
        assert await far.ended() == {"status": "Success", "output": ""}

    far = with_session(tmp_path, content(document("echo go", s3BucketName="logs")), work)
    assert far.printed == b"go\r\n"


@pytest.mark.parametrize(
    "inputs",
    [
        {"s3BucketName": "logs", "s3EncryptionEnabled": True},
        {"cloudWatchLogGroupName": "group", "cloudWatchEncryptionEnabled": "true"},
    ],
)
def test_without_the_encryption_asked_for_there_is_no_session(tmp_path: Path, inputs: dict[str, Any]) -> None:
    async def work(far: FarEnd) -> None:
        storing(far, (404, UNENCRYPTED), [{"logGroupName": "group"}])
        result = await far.ended()
        assert result["status"] == "Failed"
        assert "is not encrypted" in result["output"]

    far = with_session(tmp_path, content(document(f"touch {tmp_path}/ran", **inputs)), work)
    assert far.connections == 0
    assert not (tmp_path / "ran").exists()


def test_lines_go_to_the_log_group_at_the_end(tmp_path: Path) -> None:
    async def work(far: FarEnd) -> None:
        storing(far, groups=[{"logGroupName": "group", "kmsKeyId": "arn:…"}])
        result = await far.ended()
        assert (result["group"], result["stream"]) == ("group", SESSION_ID)

    inputs = {"cloudWatchLogGroupName": "group", "cloudWatchEncryptionEnabled": True}
    far = with_session(tmp_path, content(document("echo one; echo two", **inputs)), work)
    (put,) = put_events(far)
    assert put["logStreamName"] == SESSION_ID
    assert [event["message"] for event in put["logEvents"]] == ["one\ntwo"]


def test_streamed_events_say_whose_session_it_is(tmp_path: Path) -> None:
    async def work(far: FarEnd) -> None:
        storing(far)
        await far.ended()

    inputs = {"cloudWatchLogGroupName": "group", "cloudWatchStreamingEnabled": True}
    far = with_session(tmp_path, content(document("echo one; printf two", **inputs)), work)
    events = [json.loads(event["message"]) for put in put_events(far) for event in put["logEvents"]]
    assert [line for event in events for line in event["sessionData"]] == ["one", "two"]
    assert events[0]["userIdentity"]["arn"].endswith("user/alice")
    assert (events[0]["sessionId"], events[0]["eventVersion"]) == (SESSION_ID, "1.0")


def put_events(far: FarEnd) -> list[dict[str, Any]]:
    """What PutLogEvents was called with."""
    return [json.loads(body) for _, headers, body in far.requests if "PutLogEvents" in headers.get("x-amz-target", "")]


def test_an_encrypted_session_has_its_key_from_kms_and_a_readable_transcript(tmp_path: Path) -> None:
    key = os.urandom(64)
    asked: list[dict[str, Any]] = []

    def answer(request: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if headers.get("x-amz-target") == "TrentService.Decrypt":
            asked.append(json.loads(body))
            return 200, json.dumps({"Plaintext": base64.b64encode(key).decode()}).encode()
        return 200, b""

    async def work(far: FarEnd) -> None:
        far.answer = answer
        far.generated = (key, b"sealed key")
        completed = await far.begun()
        assert "encrypted" in completed.customer_message
        far.type(b"echo se''cret; exit\n")
        await far.ended()
        assert b"secret\r\n" in far.printed

    far = with_session(tmp_path, content(document("exec sh", kmsKeyId="alias/sessions", s3BucketName="logs")), work)
    (question,) = asked
    assert base64.b64decode(question["CiphertextBlob"]) == b"sealed key"
    context = question["EncryptionContext"]
    assert context["aws:ssm:SessionId"] == SESSION_ID
    assert (question["KeyId"], context["aws:ssm:TargetId"]) == ("alias/sessions", "mi-0123456789abcdef0")
    ((_, _, body),) = [each for each in far.requests if each[0].startswith("PUT ")]
    assert b"secret\r\n" in body


def test_a_key_that_kms_does_not_give_ends_the_session(tmp_path: Path) -> None:
    async def work(far: FarEnd) -> None:
        far.answer = lambda *_: (400, b'{"__type":"AccessDeniedException","message":"no"}')
        far.generated = (os.urandom(64), b"sealed key")
        result = await far.ended()
        assert result["status"] == "Failed"
        assert "cannot be decrypted" in result["output"]

    far = with_session(tmp_path, content(document("echo never", kmsKeyId="alias/sessions")), work)
    assert far.printed == b""
