"""Every AWS-owned document: its file is listed, it plans on each platform, and holds nothing that must not be there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleetward.protocol import document as protocol
from fleetward.protocol.document.plan import platforms_of
from fleetward.server.ssm import library
from fleetward.server.ssm.documents import content, owned_by_aws
from fleetward.server.ssm.documents.store import ResolvedDocument

PLATFORMS: tuple[protocol.PlatformType, ...] = ("Linux", "MacOS", "Windows")
HELPERS = {"__init__", "script_parameters", "session_parameters"}
VALUES = {
    "AWS-RunShellScript": {"commands": ["uname -a"]},
    "AWS-RunPowerShellScript": {"commands": ["hostname"]},
    "AWS-RunRemoteScript": {"sourceType": ["S3"], "sourceInfo": ['{"path":"x"}'], "commandLine": ["run.sh"]},
    "AWS-RunDocument": {"sourceInfo": ['{"name":"Mine"}']},
}
RUNS = {
    "AWS-GatherSoftwareInventory": {platform: ["collectSoftwareInventoryItems"] for platform in PLATFORMS},
    "AWS-Noop": {
        "Linux": ["runShellScript"],
        "MacOS": ["runShellScript"],
        "Windows": ["runPowerShellScript"],
    },
    "AWS-RefreshAssociation": {platform: ["aws:refreshAssociation"] for platform in PLATFORMS},
    "AWS-RunDocument": {platform: ["downloadContent", "runDocument"] for platform in PLATFORMS},
    "AWS-RunPowerShellScript": {"Windows": ["aws:runPowerShellScript"]},
    "AWS-RunRemoteScript": {
        "Linux": ["downloadContent", "runShellScript"],
        "MacOS": ["downloadContent", "runShellScript"],
        "Windows": ["downloadContent", "runPowerShellScript"],
    },
    "AWS-RunShellScript": {"Linux": ["aws:runShellScript"], "MacOS": ["aws:runShellScript"]},
}
SESSIONS = {
    "AWS-StartInteractiveCommand": ({"command": ["top"]}, "InteractiveCommands", "top"),
    "AWS-StartNonInteractiveCommand": ({"command": ["uptime"]}, "NonInteractiveCommands", "uptime"),
    "AWS-StartPortForwardingSession": ({}, "Port", "80"),
    "AWS-StartPortForwardingSessionToRemoteHost": ({"host": ["db.local"], "portNumber": ["5432"]}, "Port", "5432"),
    "AWS-StartPortForwardingSessionToSocket": ({"localUnixSocket": ["/run/x.sock"]}, "Port", "80"),
    "AWS-StartSSHSession": ({}, "Port", "22"),
}
"""Values, type, and what must appear among the properties once the values are in."""

ALL = list(owned_by_aws.LIBRARY.values())
EVERY = [document for document in ALL if document.document_type != "Session"]
BY_NAME = pytest.mark.parametrize("document", EVERY, ids=lambda document: document.name)
EVERY_NAME = pytest.mark.parametrize("document", ALL, ids=lambda document: document.name)


def _actions(document: protocol.Document, platform: protocol.PlatformType) -> set[str]:
    return {name for name in protocol.ACTION_PLATFORMS if platform in platforms_of(name, document.schema_version)}


def test_every_file_is_listed_in_order_of_name() -> None:
    files = {path.stem for path in Path(library.__file__).parent.glob("*.py")} - HELPERS
    assert len(library.WRITTEN) == len(files)
    names = [written.name for written in library.WRITTEN]
    assert names == sorted(set(names))


def test_the_documents_of_the_first_journey_are_there() -> None:
    assert {
        "AWS-RunShellScript",
        "AWS-RunPowerShellScript",
        "AWS-RunDocument",
        "AWS-RunRemoteScript",
        "AWS-RefreshAssociation",
    } <= set(owned_by_aws.LIBRARY)


@BY_NAME
def test_exactly_the_right_steps_run_on_each_platform(document: ResolvedDocument) -> None:
    bound = protocol.bind(document.document, VALUES.get(document.name, {}))
    runs = {}
    for platform in PLATFORMS:
        steps = protocol.plan(document.document, bound, platform, _actions(document.document, platform))
        if document.schema_version == "2.2":
            assert not [step for step in steps if step.fail_reason]
        will_run = [step for step in steps if not step.skip_reason and not step.fail_reason]
        assert "{{" not in repr([step.parts for step in will_run])
        if will_run:
            runs[platform] = [step.name for step in will_run]
    assert runs == RUNS[document.name]
    assert set(runs) == set(document.platform_types)


def test_every_session_document_is_planned() -> None:
    assert set(SESSIONS) == {document.name for document in ALL if document.document_type == "Session"}


@pytest.mark.parametrize("name", SESSIONS)
def test_session_documents_say_what_the_session_is_to_be(name: str) -> None:
    values, session_type, shown = SESSIONS[name]
    planned = protocol.plan_session(owned_by_aws.LIBRARY[name].content, values)
    assert planned.session_type == session_type
    assert f"'{shown}'" in repr(planned.properties)
    assert "{{" not in repr((planned.properties, planned.inputs))
    assert set(owned_by_aws.LIBRARY[name].platform_types) == set(PLATFORMS)


@pytest.mark.parametrize("name", [name for name, (_, session_type, _) in SESSIONS.items() if session_type == "Port"])
@pytest.mark.parametrize("number", ["0", "65536", "22\n", "22;id", "", "٢٢", "022"])
def test_session_documents_take_no_port_that_is_none(name: str, number: str) -> None:
    written = owned_by_aws.LIBRARY[name].content
    assert protocol.plan_session(written, {"portNumber": ["65535"]})
    with pytest.raises(protocol.ParameterFault):
        protocol.plan_session(written, {"portNumber": [number]})


@pytest.mark.parametrize("host", ["", "a b", "-oProxyCommand=id", "a;b", "a\n", "$(id)", "{{ssm:a}}", "a/b"])
def test_remote_hosts_are_names_or_addresses(host: str) -> None:
    written = owned_by_aws.LIBRARY["AWS-StartPortForwardingSessionToRemoteHost"].content
    for good in ("localhost", "db-1.eu_west.example.com", "10.0.0.7", "fe80::1", "::ffff:10.0.0.7"):
        assert protocol.plan_session(written, {"host": [good]})
    with pytest.raises(protocol.ParameterFault):
        protocol.plan_session(written, {"host": [host]})


@EVERY_NAME
def test_no_document_holds_a_hash_an_address_or_a_certificate(document: ResolvedDocument) -> None:
    forbidden = (r"[0-9a-fA-F]{32}", r"https?:", r"\d+\.\d+\.\d+\.\d+", r"BEGIN CERT", r"arn:", r"\d{12}")
    assert not [each for each in forbidden if re.search(each, document.text)]


@EVERY_NAME
def test_every_parameter_is_explained(document: ResolvedDocument) -> None:
    assert document.description
    assert all(parameter.get("Description") for parameter in content.parsed(document.source).parameters)


@pytest.mark.parametrize("name", ["AWS-RunShellScript", "AWS-RunPowerShellScript"])
@pytest.mark.parametrize(
    ("seconds", "fits"),
    [("1", True), ("3600", True), ("99999", True), ("172800", True), ("172801", False), ("0", False), ("1h", False)],
)
def test_execution_timeout_is_one_second_to_two_days(name: str, seconds: str, fits: bool) -> None:
    document = owned_by_aws.LIBRARY[name].document
    values = {"commands": ["x"], "executionTimeout": [seconds]}
    if fits:
        assert protocol.bind(document, values)["executionTimeout"] == seconds
    else:
        with pytest.raises(protocol.ParameterFault):
            protocol.bind(document, values)


def test_run_shell_script_keeps_the_names_that_clients_hard_code() -> None:
    document = owned_by_aws.LIBRARY["AWS-RunShellScript"].document
    assert list(document.parameters) == ["commands", "workingDirectory", "executionTimeout"]
    assert [name for name, each in document.parameters.items() if not each.has_default] == ["commands"]
    (step,) = document.steps
    assert protocol.output_key(step, "1.2") == "awsrunShellScript/0.awsrunShellScript"


def test_refresh_association_has_an_object_as_properties_never_a_list() -> None:
    refresh = owned_by_aws.LIBRARY["AWS-RefreshAssociation"].content
    properties = refresh["runtimeConfig"]["aws:refreshAssociation"]["properties"]
    assert isinstance(properties, dict)
    document = owned_by_aws.LIBRARY["AWS-RefreshAssociation"].document
    bound = protocol.bind(document, {"associationIds": ["a", "b"]})
    planned = protocol.plan(document, bound, "Linux", _actions(document, "Linux"))
    assert planned[0].inputs == {"associationIds": ["a", "b"]}
