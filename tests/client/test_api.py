"""Signed calls of the client against a real server: answers, refusals, nobody there, profiles."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fleetward.client.api import Access, Api, access_of_profile
from fleetward.client.errors import Misconfigured, Refused, Unreachable
from fleetward.protocol.sigv4 import Credentials
from tests.serving import REGION, ServerProcess


def api(server: ServerProcess, keys: Credentials | None = None, **changed: object) -> Api:
    """Calls in root's name."""
    known = {"endpoint": server.url, "region": REGION, "ca": str(server.ca)} | changed
    return Api(Access(credentials=lambda: keys or server.root, **known))  # type: ignore[arg-type]


def test_calls_reach_systems_manager_and_our_own_service(serving: ServerProcess) -> None:
    assert "InstanceInformationList" in api(serving).call("AmazonSSM", "DescribeInstanceInformation", {})
    assert api(serving).call("Fleetward", "DescribeHalt", {})["Halted"] is False


def test_keys_are_asked_for_before_each_call(serving: ServerProcess) -> None:
    """Those that expired meanwhile are not used again."""
    keys = [Credentials("AKIANOBODY", "x"), serving.root]
    calls = Api(Access(serving.url, REGION, lambda: keys.pop(0), str(serving.ca)))
    with pytest.raises(Refused):
        calls.call("AmazonSSM", "DescribeInstanceInformation", {})
    calls.call("AmazonSSM", "DescribeInstanceInformation", {})


def test_refusals_carry_awss_name_for_the_error(serving: ServerProcess) -> None:
    with pytest.raises(Refused) as refused:
        api(serving).call("AmazonSSM", "GetDocument", {"Name": "Nothing-of-that-name"})
    assert (refused.value.code, refused.value.may_pass) == ("InvalidDocument", False)


def test_who_is_not_there_or_not_trusted_is_unreachable(serving: ServerProcess, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for changed in ({"endpoint": f"https://127.0.0.1:{port}"}, {"ca": None}, {"ca": str(tmp_path / "absent")}):
        with pytest.raises(Unreachable):
            api(serving, **changed).call("AmazonSSM", "DescribeInstanceInformation", {})


def test_text_of_a_refusal_cannot_drive_the_terminal() -> None:
    assert str(Refused("Odd", "a\x1b[2Jb\x9bc\nd")) == "Odd: a?[2Jb?c\nd"


def test_a_profile_gives_endpoint_region_keys_and_ca(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[profile fleet]\nendpoint_url = https://fleet.example:8443\nregion = eu-central-1\nca_bundle = /ca.pem\n"
        "aws_access_key_id = AKIA1\naws_secret_access_key = s\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_PROFILE", "fleet")
    access = access_of_profile()
    assert (access.endpoint, access.region, access.ca) == ("https://fleet.example:8443", "eu-central-1", "/ca.pem")
    assert access.credentials() == Credentials("AKIA1", "s")
    config.write_text(config.read_text().replace("endpoint_url", "other"))
    with pytest.raises(Misconfigured, match="AWS itself"):
        access_of_profile()
