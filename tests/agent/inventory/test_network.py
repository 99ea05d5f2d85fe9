"""AWS:Network: equal to what `ip` says of this machine, with iproute2 and without."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from fleetward.agent.inventory import network
from fleetward.agent.inventory.rows import GatherFault

needs_ip = pytest.mark.skipif(shutil.which("ip") is None, reason="this machine has no iproute2")


def said_by_ip() -> dict[str, tuple[set[str], set[str]]]:
    """The addresses of both families by interface, without the loopback."""
    said = json.loads(subprocess.run(["ip", "-j", "addr"], capture_output=True, check=True).stdout)
    return {
        each["ifname"]: (
            {found["local"] for found in each["addr_info"] if found["family"] == "inet"},
            {found["local"] for found in each["addr_info"] if found["family"] == "inet6"},
        )
        for each in said
        if "LOOPBACK" not in each["flags"]
    }


def split(addresses: str) -> set[str]:
    return set(addresses.split(",")) - {""}


@needs_ip
def test_interfaces_equal_what_ip_says() -> None:
    assert {each["Name"]: (split(each["IPV4"]), split(each["IPV6"])) for each in network.gather()} == said_by_ip()


@needs_ip
def test_without_ip_the_kernel_is_asked_itself() -> None:
    said = said_by_ip()
    found = {each["Name"]: each for each in network.without_ip()}
    assert set(found) == set(said)
    for name, (four, six) in said.items():
        assert split(found[name]["IPV6"]) == six
        assert split(found[name]["IPV4"]) <= four
        assert bool(split(found[name]["IPV4"])) == bool(four)


def test_an_ip_without_json_is_a_fault() -> None:
    with pytest.raises(GatherFault, match="too old"):
        network._list("1: lo: <LOOPBACK,UP>")


def test_servers_of_names_and_leases_are_read(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("# made\nnameserver 10.0.0.2\nsearch example.com\nnameserver 10.0.0.3\n")
    assert network.resolvers(tmp_path / "resolv.conf") == "10.0.0.2,10.0.0.3"
    assert network.resolvers(tmp_path / "none") == ""
    (tmp_path / "2").write_text("# lease\nADDRESS=10.0.0.9\nSERVER_ADDRESS=10.0.0.1\n")
    assert network.dhcp_servers(tmp_path) == {2: "10.0.0.1"}
