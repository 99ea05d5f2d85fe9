"""The first message of a data channel: who it is, and that garbage opens nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.protocol.data_channel.opening import (
    LONGEST_OPEN_MESSAGE_BYTES,
    Opening,
    agent_open_message,
    client_open_message,
    read_open_message,
)
from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError

GOLDEN = Path(__file__).parents[2] / "golden" / "data_channel"

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


@given(words, words, words, words)
def test_client_is_known_by_its_version(token: str, client: str, version: str, request: str) -> None:
    opening = read_open_message(client_open_message(token, client, version, request))
    assert opening == Opening(token, "", client, version, request)


@given(words, words, words)
def test_agent_is_known_by_its_node(token: str, node: str, request: str) -> None:
    assert read_open_message(agent_open_message(token, node, request)) == Opening(token, node, "", "", request)


def test_token_is_not_shown() -> None:
    assert "secret" not in repr(read_open_message(agent_open_message("secret", "mi-1", "request")))


@pytest.mark.parametrize(("name", "write"), [("open_agent", agent_open_message), ("open_client", client_open_message)])
def test_message_on_the_wire_is_the_recorded_one(name: str, write: Callable[..., str]) -> None:
    path = GOLDEN / f"{name}.txt"
    given, expected = path.read_text().split("\n----\n")
    seen = write(**json.loads(given)) + "\n"
    if os.environ.get("GOLDEN") == "rewrite":
        path.write_text(f"{given}\n----\n{seen}")
    else:
        assert seen == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"TokenValue":"t"}',
        '{"ClientVersion":"1.2.0.0"}',
        '{"TokenValue":"","ClientVersion":"1.2.0.0"}',
        '{"TokenValue":["t"],"ClientVersion":"1.2.0.0"}',
        '{"TokenValue":"t","ClientVersion":"1.2.0.0","ClientInstanceId":"mi-1"}',
        '{"TokenValue":"t","ClientVersion":7}',
    ],
)
def test_what_opens_nothing_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        read_open_message(text)


def test_giant_message_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="65536"):
        read_open_message(client_open_message("t" * LONGEST_OPEN_MESSAGE_BYTES, "", "1.2.0.0", ""))


@given(st.text(max_size=200))
def test_garbage_raises_nothing_but_remote_protocol_error(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        read_open_message(text)


def test_channel_is_not_opened_without_token_or_name() -> None:
    for message in (
        lambda: agent_open_message("", "mi-1", "r"),
        lambda: agent_open_message("t", "", "r"),
        lambda: client_open_message("", "c", "1.2.0.0", "r"),
        lambda: client_open_message("t", "c", "", "r"),
    ):
        with pytest.raises(LocalProtocolError, match="without"):
            message()
