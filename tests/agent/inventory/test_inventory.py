"""Inventory types: what recorded outputs of the systems' programs become, and what this machine has."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetward.agent.inventory import (
    TYPES,
    aws_component,
    billing_info,
    instance_detailed_information,
    network,
    programs,
    rows,
    service,
    windows_role,
    windows_update,
)
from fleetward.agent.inventory.application import apk, dpkg, flatpak, pacman, rpm, snap
from fleetward.agent.inventory.rows import GatherFault

GOLDEN = Path(__file__).parent.parent.parent / "golden" / "inventory"
UNPACKED = {"libc6:amd64": 1_751_000_000.0, "vim": 1_751_000_060.0}


def from_ip(recorded: str) -> list[rows.Row]:
    interfaces, routes, dhcp = recorded.split("\n=\n")
    servers = {int(number): server for number, server in json.loads(dhcp).items()}
    return network.from_ip(json.loads(interfaces), json.loads(routes), "10.0.0.2,10.0.0.3", servers)


def from_cpuinfo(recorded: str) -> list[rows.Row]:
    cpuinfo, cores = recorded.split("\n=\n")
    known = {name: (socket, core) for name, (socket, core) in json.loads(cores).items()}
    return [instance_detailed_information.from_cpuinfo(cpuinfo, known, "6.1.0-37-amd64")]


def processors_of_windows(recorded: str) -> list[rows.Row]:
    processors, system = map(programs.read_objects, recorded.split("\n=\n"))
    return [instance_detailed_information.from_windows(processors, system)]


READERS: dict[str, Callable[[str], Any]] = {
    "adapters": lambda text: network.from_windows(programs.read_objects(text)),
    "apk": apk.read,
    "cpuinfo": from_cpuinfo,
    "cpuinfo_arm": from_cpuinfo,
    "dpkg": lambda text: dpkg.read(text, UNPACKED.get),
    "flatpak": flatpak.read,
    "ifconfig": network.from_ifconfig,
    "ip": from_ip,
    "pacman": pacman.read,
    "processors_of_windows": processors_of_windows,
    "roles": lambda text: windows_role.read(programs.read_objects(text)),
    "rpm": rpm.read,
    "services_of_windows": lambda text: service.from_windows(programs.read_objects(text)),
    "snap": snap.read,
    "sysctl": lambda text: [instance_detailed_information.from_sysctl(text, "24.5.0")],
    "systemctl": service.from_systemctl,
    "updates": lambda text: windows_update.read(programs.read_objects(text)),
}


@pytest.mark.parametrize("name", READERS)
def test_recorded_outputs_become_rows(name: str) -> None:
    path = GOLDEN / f"{name}.txt"
    recorded, expected = path.read_text().split("\n----\n")
    found = json.dumps(READERS[name](recorded), ensure_ascii=False, indent=1) + "\n"
    if os.environ.get("GOLDEN") == "rewrite":
        path.write_text(f"{recorded}\n----\n{found}")
    else:
        assert found == expected


def test_every_recording_is_read() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(READERS)


def test_types_are_gathered_by_files_of_their_name() -> None:
    folder = Path(aws_component.__file__).parent
    for each in TYPES:
        assert (folder / f"{each.module}.py").exists() or (folder / each.module / "__init__.py").exists()
        words = each.name.removeprefix("AWS:").lower()
        assert each.module.replace("_", "") == words
    assert len({each.parameter for each in TYPES}) == len(TYPES)


@pytest.mark.parametrize("name", ["apk", "dpkg", "flatpak", "rpm", "snap", "systemctl"])
def test_outputs_that_are_cut_anywhere_lose_rows_but_break_nothing(name: str) -> None:
    recorded = (GOLDEN / f"{name}.txt").read_text().partition("\n----\n")[0]
    whole = len(READERS[name](recorded))
    for end in range(0, len(recorded), 7):
        assert len(READERS[name](recorded[:end])) <= whole


# -- what AWS publishes, what EC2 bills -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "amazon-ssm-agent",
        "awscli",
        "aws-cli",
        "AWSCLIv2",
        "aws-cfn-bootstrap",
        "ec2-net-utils",
        "Amazon SSM Agent",
        "AWS Tools for Windows",
    ],
)
def test_software_of_aws_is_known_by_its_name(name: str) -> None:
    found = aws_component.published([{"Name": name, "Publisher": "", "Version": "1", "Summary": "left out"}])
    assert found == [{"Name": name, "Publisher": "", "Version": "1"}]


@pytest.mark.parametrize("name", ["awk", "gawk", "bash", "laws-of-code", "amazonia"])
def test_other_software_is_not_taken_for_aws_s(name: str) -> None:
    assert aws_component.published([{"Name": name, "Publisher": "Amazon Linux", "Version": "1"}]) == []


def test_products_of_an_identity_document_are_rows() -> None:
    assert billing_info.read('{"billingProducts": ["bp-6fa54006"]}') == [{"BillingProductId": "bp-6fa54006"}]
    for document in ('{"billingProducts": null}', "{}", "[]", "<html>"):
        assert billing_info.read(document) == []


def test_only_machines_of_ec2_ask_for_their_metadata() -> None:
    assert billing_info.is_ec2("Amazon EC2\n")
    assert not billing_info.is_ec2("QEMU")
    assert not billing_info.is_ec2("")


# -- this machine -----------------------------------------------------------------------------------------------------


def test_the_processors_are_those_that_run() -> None:
    (row,) = instance_detailed_information.gather()
    assert int(row["CPUs"]) == os.cpu_count()
    assert row["KernelVersion"] == os.uname().release
    assert int(row["CPUCores"]) <= int(row["CPUs"])


# -- programs ---------------------------------------------------------------------------------------------------------


def test_a_program_that_is_not_there_is_no_fault() -> None:
    assert programs.printed_by("no-such-program-at-all") is None


def test_a_program_that_fails_or_hangs_is_a_fault() -> None:
    with pytest.raises(GatherFault, match="exit code 3: broken"):
        programs.printed_by("sh", "-c", "echo broken >&2; exit 3")
    with pytest.raises(GatherFault, match="did not end"):
        programs.printed_by("sleep", "30", seconds=0.1)


def test_programs_speak_english_and_read_what_is_given() -> None:
    assert programs.printed_by("sh", "-c", "cat; echo $LC_ALL", given="one\n") == "one\nC.UTF-8\n"


def test_objects_come_as_a_list_alone_or_not_at_all() -> None:
    assert programs.read_objects('\ufeff[{"a": 1}]') == [{"a": 1}]
    assert programs.read_objects('{"a": 1}') == [{"a": 1}]
    assert programs.read_objects("") == []
    with pytest.raises(GatherFault):
        programs.read_objects("a table")


def test_values_are_one_line_of_bounded_text() -> None:
    row = rows.row({"Name": "a\nb\x1b[31m", "Size": 3, "Publisher": None}, {"URL": "", "Summary": "x" * 5000})
    assert row == {"Name": "a b [31m", "Size": "3", "Publisher": "", "Summary": "x" * 4096}
    assert rows.iso(1_795_378_039.5) == "2026-11-22T20:07:19Z"
    assert rows.iso(1e300) == ""
