"""Regions: which are served, and how another one comes to be."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from fleetward.protocol.sigv4 import Credentials
from tests.services import Postgres
from tests.serving import FLEETWARD, ServerProcess, StartServer, eventually

NEW = "eu-central-1"


def listed(server: ServerProcess, region: str, keys: Credentials | None = None) -> int:
    """The status of a call signed for a region."""
    return server.call("ListNodes", {}, keys or server.root, region=region).status


def add(server: ServerProcess, name: str) -> int:
    """AddRegion's status."""
    return server.call("AddRegion", {"RegionName": name}, server.root, service="fleetward").status


def test_an_added_region_is_served_by_every_server_within_a_second(
    start_server: StartServer, postgres_server: Postgres, postgres_url: str
) -> None:
    """Two servers without a bus between them: the second finds it when it looks."""
    first = start_server(database=postgres_url)
    second = start_server(database=postgres_url, keys=first.data / "keys.json", run=False)
    second.start()
    assert (listed(first, NEW), listed(second, NEW, first.root)) == (400, 400)
    assert add(first, NEW) == 200  # AddRegion
    eventually(lambda: listed(first, NEW) == 200, within=1.0)
    eventually(lambda: listed(second, NEW, first.root) == 200, within=2.5)  # a look each second, and its time


def test_a_region_outlives_the_server_and_the_certificate_names_it(start_server: StartServer) -> None:
    """Names below a host name are formed with the region; `region list` shows who added it."""
    server = start_server(name="fleet.example")
    assert add(server, NEW) == 200
    assert add(server, NEW) == 200
    wanted = f"*.{NEW}.fleet.example"
    eventually(lambda: wanted in names_of(server.data / "tls" / "server.pem"), within=2.0)
    server.stop()
    server.start()
    assert listed(server, NEW) == 200
    regions = server.call("ListRegions", {}, server.root, service="fleetward").json["Regions"]
    assert [region["RegionName"] for region in regions] == ["us-east-1", NEW]
    assert regions[1]["AddedBy"].endswith(":root")


def names_of(file: Path) -> set[str]:
    """All names of a certificate."""
    certificate = x509.load_pem_x509_certificates(file.read_bytes())[0]
    return {
        str(name.value) for name in certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    }


def test_a_signature_of_another_region_is_told_which_are_served(serving: ServerProcess) -> None:
    """By name, and how to serve another."""
    answer = serving.call("ListNodes", {}, serving.root, region="mars-north-1")
    assert answer.code == "InvalidSignatureException"
    assert "us-east-1" in answer.message
    assert "'mars-north-1'" in answer.message
    assert "fleetward region add" in answer.message


@pytest.mark.parametrize("name", ["", "x", "Us-East-1", "us east", "-a", "a-", "us--east", "a" * 33, "us-öst-1"])
def test_what_is_no_name_of_a_region_is_refused(serving: ServerProcess, name: str) -> None:
    assert serving.call("AddRegion", {"RegionName": name}, serving.root, service="fleetward").code == (
        "ValidationException"
    )


def test_only_administrators_add_regions(serving: ServerProcess) -> None:
    keys = serving.role("ReadOnly")
    answer = serving.call("AddRegion", {"RegionName": NEW}, keys, service="fleetward")
    assert answer.code == "AccessDeniedException"


def test_the_command_adds_and_lists(start_server: StartServer) -> None:
    """With the AWS environment that every client uses."""
    server = start_server()
    environment = os.environ | {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_CA_BUNDLE": str(server.ca),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": server.root.access_key_id,
        "AWS_SECRET_ACCESS_KEY": server.root.secret_access_key,
    }
    for words in (["add", NEW], ["list"]):
        done = subprocess.run(
            [str(FLEETWARD), "region", *words], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["us-east-1", NEW]
