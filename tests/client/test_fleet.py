"""A fleet as a program sees it: where it is, what is asked of it, what is refused."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetward import client
from fleetward.client import ClientError, Finished, Misconfigured
from fleetward.protocol.frame import PayloadType
from fleetward.protocol.sigv4 import Credentials
from fleetward.server import certificates
from tests.client.far_end import NODE, SESSION, FarEnd, served
from tests.client.test_channel import fleet_of

KEYS = Credentials("AKIA", "secret")


def test_endpoint_keys_and_region_come_together_or_from_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Misconfigured, match="together"):
        client.connect("https://fleet.example", KEYS)
    monkeypatch.setenv("AWS_PROFILE", "nobody-has-this-profile")
    with pytest.raises(Misconfigured, match="nobody-has-this-profile"):
        client.connect()


def test_commands_are_sent_as_words_and_their_end_comes_back() -> None:
    async def whole() -> Finished:
        async with fleet_of(end) as fleet:
            return await fleet.run(NODE, ["sh", "-c", "echo $HOME"], reason="to see")

    end = FarEnd(session_type="NonInteractiveCommands")

    def prints() -> None:
        end.send(PayloadType.OUTPUT, b"/root\n")
        end.send(PayloadType.EXIT_CODE, b"EXIT_CODE: 0")
        end.end()

    end.begun = prints
    with served(end):
        assert asyncio.run(asyncio.wait_for(whole(), 20)) == Finished(0, b"/root\n", b"")
    (asked,) = end.called("StartSession")
    assert asked == {
        "Target": NODE,
        "DocumentName": "AWS-StartNonInteractiveCommand",
        "Parameters": {"command": ["sh -c 'echo $HOME'"]},
        "Reason": "to see",
    }


def test_a_session_is_ended_by_its_id() -> None:
    with served(FarEnd()) as end:
        asyncio.run(fleet_of(end).terminate(SESSION))
    assert end.called("TerminateSession") == [{"SessionId": SESSION}]


def test_a_stream_without_tls_is_refused_where_calls_have_it(tmp_path: Path) -> None:
    files = certificates.prepare(tmp_path, ["127.0.0.1"], ["us-east-1"], datetime.now(UTC))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(files.certificate, files.key)
    with served(FarEnd(), tls) as end:
        fleet = client.connect(end.endpoint, KEYS, region="us-east-1", ca=files.ca)
        with pytest.raises(ClientError, match="without TLS"):
            asyncio.run(fleet.start_session(NODE))


def test_an_answer_without_a_stream_is_told() -> None:
    end = FarEnd()
    end.answers["StartSession"] = [{"SessionId": SESSION, "TokenValue": "t"}]
    with served(end), pytest.raises(ClientError, match="lacks 'StreamUrl'"):
        asyncio.run(fleet_of(end).start_session(NODE))
