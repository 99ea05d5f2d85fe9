"""What a session is to be, by its message: values put in once, inside their patterns, and types that are right."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleetward.agent.sessions.request import RunAs, SessionFault, SessionRequest, SessionType, read_request
from tests.agent.sessions.far_end import SESSION_ID, SHELL, commands, content, port


def read(document: dict[str, Any], parameters: Any = None, **members: Any) -> SessionRequest:
    """The request on Linux."""
    return read_request(SESSION_ID, content(document, parameters, **members), "linux")


def with_parameter(text: str, **declared: Any) -> dict[str, Any]:
    """A document of commands with the parameter `name`."""
    return {**commands(text), "parameters": {"name": {"type": "String", **declared}}}


def test_values_and_defaults_are_put_in_once() -> None:
    document = with_parameter("echo {{ name }} {{name}} {{ other }}", default="{{ name }}")
    assert read(document).commands == "echo {{ name }} {{ name }} {{ other }}"
    assert read(document, {"name": "a b"}).commands == "echo a b a b {{ other }}"
    assert read(document, {"name": "{{ name }}"}).commands == "echo {{ name }} {{ name }} {{ other }}"


@pytest.mark.parametrize("value", ["x; id", "good\nid", "good ", "$(id)", "", "g" * 5000])
def test_a_value_outside_its_pattern_never_reaches_a_command(value: str) -> None:
    document = with_parameter("echo {{ name }}", allowedPattern="^[a-z]{1,8}$")
    assert read(document, {"name": "good"}).commands == "echo good"
    with pytest.raises(SessionFault, match="parameter name"):
        read(document, {"name": value})


def test_a_value_that_is_not_allowed_is_refused() -> None:
    document = with_parameter("echo {{ name }}", allowedValues=["one", "two"], default="one")
    assert read(document, {"name": "two"}).commands == "echo two"
    with pytest.raises(SessionFault, match="may not be 'three'"):
        read(document, {"name": "three"})


def test_values_that_are_missing_unknown_or_no_text_are_refused() -> None:
    document = with_parameter("echo {{ name }}")
    for parameters in ({}, {"name": {}}, {"name": "x", "more": "y"}, {"name": "x" * 100_000}, [], {"name": "a\0b"}):
        with pytest.raises(SessionFault):
            read(document, parameters)
    assert read(document, {"name": ["first", "second"]}).commands == "echo first"


def test_commands_are_those_of_the_platform() -> None:
    document = commands("")
    document["properties"] = {"linux": {"commands": ["a", "b"]}, "windows": {"commands": "w"}}
    assert read(document).commands == "a\nb"
    assert read_request(SESSION_ID, content(document), "windows").commands == "w"
    with pytest.raises(SessionFault, match="no commands for this platform"):
        _ = read_request(SESSION_ID, content(document), "macos").commands


def test_the_callers_user_wins_where_run_as_is_enabled() -> None:
    inputs = {"runAsEnabled": "true", "runAsDefaultUser": "theirs"}
    assert read({**SHELL, "inputs": inputs}).run_as == RunAs(False, True, "theirs")
    assert read({**SHELL, "inputs": inputs}, RunAsUser="mine").run_as == RunAs(False, True, "mine")
    assert read({**SHELL, "inputs": {"runAsDefaultUser": "x"}}, RunAsUser="mine").run_as == RunAs()
    assert read(commands("id")).run_as == RunAs(True)


def test_ports_have_no_log_and_no_keys() -> None:
    inputs = {"s3BucketName": "logs", "kmsKeyId": "alias/key", "cloudWatchLogGroupName": "group"}
    seen = read({**port(22), "inputs": inputs})
    assert (seen.session_type, seen.port, seen.host, seen.kms_key_id) == (SessionType.PORT, 22, "", "")
    assert not seen.logging.is_wanted
    assert read({**SHELL, "inputs": inputs}).logging.is_wanted


@pytest.mark.parametrize("number", ["0", "65536", "-1", "22x", "", "٢٢", 22, None])
def test_a_port_that_is_none_is_refused(number: Any) -> None:
    document = port(1)
    document["properties"]["portNumber"] = number
    with pytest.raises(SessionFault, match="portNumber"):
        _ = read(document).port


@pytest.mark.parametrize("host", ["a\nb", " x", "x" * 300, 5])
def test_a_host_that_is_none_is_refused(host: Any) -> None:
    document = port(1)
    document["properties"]["host"] = host
    with pytest.raises(SessionFault, match="host"):
        _ = read(document).host


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "{",
        "[" * 100_000,
        json.dumps({"DocumentContent": {"sessionType": "Other"}}),
        json.dumps({"DocumentContent": {**SHELL, "inputs": [1]}}),
        json.dumps({"DocumentContent": {**SHELL, "inputs": {"kmsKeyId": 5}}}),
        json.dumps({"DocumentContent": {**SHELL, "inputs": {"shellProfile": {"linux": "x" * 9999}}}}),
        json.dumps({"DocumentContent": SHELL, "SessionOwner": "x" * 600_000}),
    ],
)
def test_messages_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(SessionFault):
        read_request(SESSION_ID, text, "linux")
