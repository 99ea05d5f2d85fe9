"""AWS:Network: the interfaces and their addresses, but for the loopback."""

from __future__ import annotations

import ipaddress
import json
import socket
import struct
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fleetward.agent import platforms
from fleetward.agent.inventory.programs import objects_of_powershell, printed_by
from fleetward.agent.inventory.rows import GatherFault, Row, row

INTERFACES = Path("/sys/class/net")
ADDRESSES_V6 = Path("/proc/net/if_inet6")
LEASES = Path("/run/systemd/netif/leases")
RESOLVERS = Path("/etc/resolv.conf")
LOOPBACK = 0x8
SIOCGIFADDR = 0x8915
SIOCGIFNETMASK = 0x891B
ADAPTERS = (
    "Get-CimInstance Win32_NetworkAdapterConfiguration -Filter 'IPEnabled=TRUE' | Select-Object Description, "
    "DHCPServer, MACAddress, @{n='Addresses';e={@($_.IPAddress)}}, @{n='Masks';e={@($_.IPSubnet)}}, "
    "@{n='Gateways';e={@($_.DefaultIPGateway)}}, @{n='Resolvers';e={@($_.DNSServerSearchOrder)}}"
)


def gather(asked: str = "") -> list[Row]:
    """One row for each interface, also for one without an address."""
    system = platforms.current().platform_type
    if system == "Windows":
        return from_windows(objects_of_powershell(ADAPTERS))
    if system == "MacOS":
        return from_ifconfig(printed_by("ifconfig", "-a") or "")
    addresses = printed_by("ip", "-j", "addr")
    if addresses is None:
        return without_ip()
    return from_ip(_list(addresses), _list(printed_by("ip", "-j", "route") or "[]"), resolvers(), dhcp_servers())


def from_ip(
    interfaces: Iterable[Mapping[str, Any]],
    routes: Iterable[Mapping[str, Any]],
    name_servers: str,
    dhcp: Mapping[int, str],
) -> list[Row]:
    """The rows of `ip -j addr` and `ip -j route`; `dhcp` has the servers by the interfaces' numbers."""
    gateways: dict[str, list[str]] = {}
    for route in routes:
        if route.get("dst") == "default" and route.get("gateway"):
            gateways.setdefault(str(route.get("dev")), []).append(str(route["gateway"]))
    rows = []
    for each in interfaces:
        if "LOOPBACK" in each.get("flags", []):
            continue
        name = str(each["ifname"])
        addresses = [str(found["local"]) for found in each.get("addr_info", []) if "local" in found]
        prefixes = [found["prefixlen"] for found in each.get("addr_info", []) if found.get("family") == "inet"]
        rows.append(
            _row(
                name,
                str(each.get("address", "")) if each.get("link_type") == "ether" else "",
                addresses,
                [_mask(prefix) for prefix in prefixes],
                gateways.get(name, []),
                dhcp.get(int(each.get("ifindex", 0)), ""),
                name_servers if name in gateways else "",
            )
        )
    return rows


def without_ip() -> list[Row]:
    """What Linux tells where iproute2 is not installed: all interfaces, of each at most one IPv4 address."""
    six = _addresses_v6(ADDRESSES_V6.read_text()) if ADDRESSES_V6.exists() else {}
    rows = []
    for path in sorted(INTERFACES.iterdir()):
        if int((path / "flags").read_text(), 16) & LOOPBACK:
            continue
        four = _address_v4(path.name)
        card = (path / "address").read_text().strip()
        rows.append(_row(path.name, card, [*four[:1], *six.get(path.name, [])], list(four[1:]), [], "", ""))
    return rows


def from_ifconfig(printed: str) -> list[Row]:
    """The rows of ifconfig as macOS and the BSDs print it."""
    rows: list[Row] = []
    for block in _blocks(printed):
        name, _, flags = block[0].partition(":")
        if "LOOPBACK" in flags:
            continue
        words = [line.split() for line in block[1:]]
        addresses = [each[1].partition("%")[0] for each in words if each[0] in ("inet", "inet6") and len(each) > 1]
        masks = [each[3] for each in words if each[0] == "inet" and len(each) > 3 and each[2] == "netmask"]
        card = next((each[1] for each in words if each[0] == "ether" and len(each) > 1), "")
        rows.append(_row(name, card, addresses, [_mask_of_hex(mask) for mask in masks], [], "", ""))
    return rows


def from_windows(adapters: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The rows of Win32_NetworkAdapterConfiguration."""
    return [
        _row(
            str(each.get("Description") or ""),
            str(each.get("MACAddress") or "").lower(),
            _texts(each.get("Addresses")),
            [mask for mask in _texts(each.get("Masks")) if "." in mask],
            _texts(each.get("Gateways")),
            str(each.get("DHCPServer") or ""),
            ",".join(_texts(each.get("Resolvers"))),
        )
        for each in adapters
    ]


def resolvers(path: Path = RESOLVERS) -> str:
    """The name servers of resolv.conf."""
    try:
        words = [line.split() for line in path.read_text(errors="replace").splitlines()]
    except OSError:
        return ""
    return ",".join(each[1] for each in words if len(each) > 1 and each[0] == "nameserver")


def dhcp_servers(folder: Path = LEASES) -> dict[int, str]:
    """The DHCP servers that systemd-networkd has leases of."""
    found = {}
    for path in folder.glob("[0-9]*"):
        try:
            lines = dict(line.split("=", 1) for line in path.read_text(errors="replace").splitlines() if "=" in line)
        except OSError:
            continue
        if path.name.isdecimal() and "SERVER_ADDRESS" in lines:
            found[int(path.name)] = lines["SERVER_ADDRESS"]
    return found


def _row(
    name: str, card: str, addresses: Iterable[str], masks: Iterable[str], gateways: Iterable[str], dhcp: str, dns: str
) -> Row:
    known = list(addresses)
    return row(
        {
            "Name": name,
            "MacAddress": card,
            "IPV4": ",".join(each for each in known if ":" not in each),
            "IPV6": ",".join(each for each in known if ":" in each),
        },
        {"SubnetMask": ",".join(masks), "Gateway": ",".join(gateways), "DHCPServer": dhcp, "DNSServer": dns},
    )


def _list(printed: str) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(printed or "[]")
    except ValueError:
        raise GatherFault("ip printed no JSON: it is too old for `ip -j`") from None
    return [each for each in found if isinstance(each, dict)]


def _mask(prefix: int) -> str:
    return str(ipaddress.IPv4Network(f"0.0.0.0/{prefix}").netmask)


def _mask_of_hex(mask: str) -> str:
    return str(ipaddress.IPv4Address(int(mask, 16))) if mask.startswith("0x") else mask


def _blocks(printed: str) -> list[list[str]]:
    blocks: list[list[str]] = []
    for line in printed.splitlines():
        if line[:1].strip():
            blocks.append([line])
        elif line.strip() and blocks:
            blocks[-1].append(line)
    return blocks


def _texts(value: Any) -> list[str]:
    return [str(each) for each in (value if isinstance(value, list) else [value]) if each]


def _addresses_v6(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for address, *_, name in filter(None, (line.split() for line in text.splitlines())):
        found.setdefault(name, []).append(str(ipaddress.IPv6Address(bytes.fromhex(address))))
    return found


def _address_v4(name: str) -> tuple[str, ...]:
    """Address and mask of an interface; empty when it has none."""
    found: list[str] = []
    if sys.platform != "win32":
        import fcntl

        asked = struct.pack("256s", name.encode()[:15])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                for request in (SIOCGIFADDR, SIOCGIFNETMASK):
                    found.append(socket.inet_ntoa(fcntl.ioctl(probe.fileno(), request, asked)[20:24]))
            except OSError:
                return ()
    return tuple(found)
