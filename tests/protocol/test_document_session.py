"""Session documents: what one may say, how a session's values are bound to it, what its agent is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.protocol import document as documents
from fleetward.protocol.document import DocumentFault, ParameterFault, parse_session, plan_session

SHELL = {"schemaVersion": "1.0", "sessionType": "Standard_Stream", "inputs": {}}
PORT = {
    "schemaVersion": "1.0",
    "sessionType": "Port",
    "parameters": {
        "portNumber": {"type": "String", "allowedPattern": "^[0-9]+$"},
        "host": {"type": "String", "default": "localhost", "allowedPattern": "^[a-z.]+$"},
    },
    "properties": {"portNumber": "{{ portNumber }}", "host": "{{host}}", "type": "LocalPortForwarding"},
}
TAIL = {
    "schemaVersion": "1.0",
    "sessionType": "InteractiveCommands",
    "parameters": {"path": {"type": "string", "allowedPattern": "^/var/log/[a-z]+$"}},
    "properties": {"linux": {"commands": ["cd /", "tail -f {{ path }}"], "runAsElevated": "true"}},
}


def changed(document: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {**document, **members}


def inputs(**members: Any) -> dict[str, Any]:
    return changed(SHELL, inputs=members)


def linux(**members: Any) -> dict[str, Any]:
    return changed(TAIL, properties={"linux": {"commands": "id", **members}})


def port(**members: Any) -> dict[str, Any]:
    return changed(PORT, properties={"portNumber": "22", **members})


def test_a_shell_without_preferences_has_the_defaults() -> None:
    plan = plan_session(SHELL, {})
    assert (plan.session_type, plan.properties, plan.parameters) == ("Standard_Stream", None, {})
    assert (plan.idle_minutes, plan.most_minutes) == (20, None)
    assert plan.inputs["shellProfile"] == {"linux": "", "macos": "", "windows": ""}
    assert plan.content["inputs"]["runAsEnabled"] is False
    assert "parameters" not in plan.content
    assert json.loads(json.dumps(plan.content)) == plan.content


def test_preferences_are_read_whichever_way_they_are_written() -> None:
    document = inputs(
        s3BucketName="logs",
        s3EncryptionEnabled="false",
        cloudWatchStreamingEnabled="True",
        runAsEnabled=True,
        runAsDefaultUser="ops",
        idleSessionTimeout=5,
        maxSessionDuration="1440",
        shellProfile={"linux": "cd /srv"},
    )
    plan = plan_session(document, {})
    assert plan.content["inputs"]["s3EncryptionEnabled"] is False
    assert plan.content["inputs"]["cloudWatchStreamingEnabled"] is True
    assert plan.content["inputs"]["shellProfile"] == {"linux": "cd /srv", "macos": "", "windows": ""}
    assert (plan.idle_minutes, plan.most_minutes, plan.inputs["runAsDefaultUser"]) == (5, 1440, "ops")


def test_documents_without_inputs_take_the_accounts_preferences() -> None:
    preferences = inputs(idleSessionTimeout="7", kmsKeyId="alias/sessions")
    plan = plan_session(PORT, {"portNumber": ["80"]}, preferences=preferences)
    assert (plan.idle_minutes, plan.content["inputs"]["kmsKeyId"]) == (7, "alias/sessions")
    assert plan_session(inputs(), {}, preferences=preferences).idle_minutes == 20


def test_values_are_put_in_here_and_left_to_the_agent_there() -> None:
    plan = plan_session(PORT, {"portNumber": ["5432"], "host": ["db.local"]})
    assert plan.properties == {"portNumber": "5432", "host": "db.local", "type": "LocalPortForwarding"}
    assert plan.content["properties"] == PORT["properties"]
    assert plan.parameters == {"portNumber": "5432", "host": "db.local"}
    assert plan_session(PORT, {"portNumber": ["5432"]}).parameters["host"] == "localhost"


def test_commands_become_what_agents_read() -> None:
    plan = plan_session(TAIL, {"path": ["/var/log/syslog"]})
    assert plan.properties == {"linux": {"commands": "cd /\ntail -f /var/log/syslog", "runAsElevated": True}}
    assert plan.content["properties"] == {"linux": {"commands": "cd /\ntail -f {{ path }}", "runAsElevated": True}}
    assert plan.content["parameters"]["path"]["type"] == "String"
    assert parse_session(TAIL).platforms == ("Linux",)


def test_numbers_of_ports_become_text() -> None:
    plan = plan_session(port(portNumber=5432, localPortNumber=0), {"portNumber": ["1"]})
    assert plan.content["properties"] == {"portNumber": "5432", "localPortNumber": "0"}


def test_a_list_is_sent_as_one_string() -> None:
    document = changed(TAIL, parameters={"path": {"type": "StringList"}, "more": {"type": "StringList", "default": []}})
    plan = plan_session(document, {"path": ["a b"]})
    assert plan.parameters == {"path": "a b", "more": ""}
    assert plan.content["parameters"]["more"]["default"] == ""


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "object"),
        ({}, "schemaVersion"),
        (changed(SHELL, schemaVersion=1.0), "schemaVersion"),
        (changed(SHELL, schemaVersion="2.2"), "schemaVersion"),
        (changed(SHELL, sessionType="Shell"), "sessionType"),
        (changed(SHELL, sessionType=["Port"]), "sessionType"),
        (changed(SHELL, inputs=None), "inputs are needed"),
        (changed(SHELL, inputs=[]), "inputs must be an object"),
        (changed(SHELL, description=5), "description"),
        (inputs(idleSessionTimout="5"), "idleSessionTimout"),
        (inputs(s3BucketName=5), "s3BucketName must be text"),
        (inputs(kmsKeyId=None), "kmsKeyId must be text"),
        (inputs(runAsEnabled="yes"), "runAsEnabled must be true or false"),
        (inputs(cloudWatchStreamingEnabled=1), "cloudWatchStreamingEnabled must be true or false"),
        (inputs(idleSessionTimeout=""), "from 1 to 60"),
        (inputs(idleSessionTimeout="0"), "from 1 to 60"),
        (inputs(idleSessionTimeout="61"), "from 1 to 60"),
        (inputs(idleSessionTimeout=True), "from 1 to 60"),
        (inputs(idleSessionTimeout="5m"), "from 1 to 60"),
        (inputs(maxSessionDuration="1441"), "from 1 to 1440, or empty"),
        (inputs(maxSessionDuration=0), "from 1 to 1440, or empty"),
        (inputs(shellProfile="cd"), "shellProfile must be an object"),
        (inputs(shellProfile={"linux": 1}), "linux must be text"),
        (inputs(shellProfile={"linux": "x" * 513}), "longer than 512"),
        (inputs(shellProfile={"solaris": ""}), "solaris"),
        (changed(PORT, properties=None), "properties"),
        (changed(PORT, properties={}), "portNumber is missing"),
        (port(portNumber="0"), "port from 1 to 65535"),
        (port(portNumber="65536"), "port from 1 to 65535"),
        (port(portNumber="{{ other }}"), "port from 1 to 65535"),
        (port(portNumber=["22"]), "portNumber must be text"),
        (port(localPortNumber="70000"), "port from 0 to 65535"),
        (port(type="Remote"), "LocalPortForwarding"),
        (port(localConnectionType="tcp"), "unix"),
        (port(hosts="x"), "hosts"),
        (changed(TAIL, properties={}), "commands for one of"),
        (changed(TAIL, properties={"Linux": {"commands": "id"}}), "'Linux'"),
        (changed(TAIL, properties={"linux": "id"}), "linux must be an object"),
        (linux(commands=""), "commands must be text"),
        (linux(commands=[1]), "commands must be text"),
        (linux(runAsElevated="{{ path }}"), "runAsElevated must be true or false"),
        (linux(stdOutSeparatorPrefix="!"), "stdOutSeparatorPrefix"),
        (linux(shell="bash"), "'shell'"),
        (changed(TAIL, parameters=[]), "parameters"),
        (changed(TAIL, parameters={"a": {"type": "StringMap"}}), "StringMap"),
        (changed(TAIL, parameters={"a": {"type": "StringList", "default": ["x", "y"]}}), "several values"),
        (changed(TAIL, parameters={"a": {"type": "String", "allowedPattern": "("}}), "allowedPattern"),
        (changed(TAIL, parameters={"a-b": {"type": "String"}}), "letters and digits"),
        (inputs(s3BucketName="\0"), "NUL"),
    ],
)
def test_what_no_session_can_be_made_of_is_refused_with_its_reason(document: Any, reason: str) -> None:
    with pytest.raises(DocumentFault) as caught:
        parse_session(document)
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    "value",
    [
        "/var/log/syslog\n",
        "/var/log/syslog\nid",
        "id;/var/log/syslog",
        "/var/log/syslog; id",
        "\n/var/log/syslog",
        "/var/log/syslog\u2028",
        "/var/log/../../etc",
        "",
        "{{ path }}",
        "/var/log/{{ssm:a}}",
    ],
)
def test_no_value_escapes_its_pattern(value: str) -> None:
    with pytest.raises(ParameterFault):
        plan_session(TAIL, {"path": [value]})


@given(st.text())
def test_whatever_fits_a_pattern_fits_it_whole(value: str) -> None:
    try:
        plan = plan_session(TAIL, {"path": ["/var/log/" + value]})
    except ParameterFault:
        return
    assert plan.parameters["path"].removeprefix("/var/log/").isascii()
    assert plan.parameters["path"].removeprefix("/var/log/").isalpha()


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, "path"),
        ({"path": []}, "path"),
        ({"path": ["/var/log/a", "/var/log/b"]}, "path"),
        ({"path": ["/var/log/a"], "other": ["x"]}, "other"),
        ({"path": "/var/log/a"}, "path"),
    ],
)
def test_missing_unknown_and_several_values_are_refused(values: Any, name: str) -> None:
    with pytest.raises(ParameterFault) as caught:
        plan_session(TAIL, values)
    assert caught.value.name == name


@pytest.mark.parametrize(
    "values",
    [
        {"one": ["{{ssm:secret}}"], "two": [""]},
        {"one": ["{{ssm-secure:secret}}"], "two": [""]},
        {"one": ["{{ss"], "two": ["m:secret}}"]},
        {"one": ["{"], "two": ["{ssm:secret}}"]},
    ],
)
def test_values_cannot_have_the_node_read_parameter_store(values: Any) -> None:
    document = changed(
        TAIL,
        parameters={"one": {"type": "String"}, "two": {"type": "String"}},
        properties={"linux": {"commands": "echo {{ one }}{{ two }} {{ssm:motto}}"}},
    )
    plan_session(document, {"one": ["a"], "two": ["b"]})
    with pytest.raises(ParameterFault, match="Parameter Store"):
        plan_session(document, values)


def test_a_value_is_not_searched_for_references_again() -> None:
    document = changed(TAIL, parameters={"path": {"type": "String"}, "more": {"type": "String", "default": "x"}})
    plan = plan_session(document, {"path": ["{{ more }}"]})
    assert plan.properties is not None
    assert plan.properties["linux"]["commands"].endswith("tail -f {{ more }}")


@pytest.mark.parametrize("number", ["0", "65536", "99999", "-1", "0x16", " 22"])
def test_ports_are_checked_once_values_are_in(number: str) -> None:
    open_document = changed(PORT, parameters={"portNumber": {"type": "String"}, "host": {"type": "String"}})
    with pytest.raises(ParameterFault, match="portNumber"):
        plan_session(open_document, {"portNumber": [number], "host": ["a"]})


@pytest.mark.parametrize("host", ["", " a", "a\nb", "a\x1b[2J", "a" * 256])
def test_hosts_are_checked_once_values_are_in(host: str) -> None:
    open_document = changed(PORT, parameters={"portNumber": {"type": "String"}, "host": {"type": "String"}})
    with pytest.raises(ParameterFault, match="host"):
        plan_session(open_document, {"portNumber": ["22"], "host": [host]})


def test_a_server_may_bring_a_matcher_of_its_own() -> None:
    asked = []

    def refuse(pattern: str, text: str) -> bool:
        asked.append((pattern, text))
        return False

    with pytest.raises(ParameterFault):
        plan_session(TAIL, {"path": ["/var/log/a"]}, matches=refuse)
    assert asked == [("^/var/log/[a-z]+$", "/var/log/a")]


def test_what_a_plan_holds_is_the_callers_own() -> None:
    first = plan_session(SHELL, {})
    first.inputs["shellProfile"]["linux"] = first.content["inputs"]["shellProfile"]["linux"] = "spoilt"
    second = plan_session(SHELL, {})
    assert second.inputs["shellProfile"]["linux"] == second.content["inputs"]["shellProfile"]["linux"] == ""


def test_parameters_are_described_as_those_of_other_documents() -> None:
    described = documents.parameter_descriptions(parse_session(PORT))
    assert [each["Name"] for each in described] == ["portNumber", "host"]
    assert described[1]["DefaultValue"] == "localhost"
