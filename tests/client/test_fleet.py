"""A fleet as a program sees it: where it is, what is asked of it, what is refused."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from fleetward import client
from fleetward.client import ClientError, Finished, Misconfigured
from fleetward.client.api import Access, Api
from fleetward.client.channel import Timing
from fleetward.client.fleet import Fleet
from fleetward.protocol.frame import PayloadType
from fleetward.protocol.sigv4 import Credentials
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


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ({"SessionId": SESSION, "TokenValue": "t", "StreamUrl": "ws://fleet.example/v1"}, "without TLS"),
        ({"SessionId": SESSION, "TokenValue": "t"}, "lacks 'StreamUrl'"),
    ],
)
def test_answers_that_lead_nowhere_safe_are_refused(answer: dict[str, Any], match: str) -> None:
    class Answers(Api):
        """A control plane that answers this."""

        def _send(self, *request: Any) -> Any:
            return json.dumps(answer).encode(), {}

    fleet = Fleet(Answers(Access("https://fleet.example", "us-east-1", lambda: KEYS)), Timing())
    with pytest.raises(ClientError, match=match):
        asyncio.run(fleet.start_session(NODE))
