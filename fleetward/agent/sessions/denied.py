"""Which addresses a session may not reach through this node: those that give out the machine's own credentials.

All link-local addresses are denied, among them the metadata service of every cloud, and the further addresses of AWS's;
in whatever form they are written. The file `denied-addresses` of the state folder names more: an address or a network
on each line.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

FILE_NAME = "denied-addresses"
LARGEST_FILE_BYTES = 1024 * 1024

_ALWAYS = tuple(
    ip_network(each)
    for each in (
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::/32",  # AWS: metadata, time, names
        "100.100.100.200/32",  # Alibaba Cloud: metadata
        "168.63.129.16/32",  # Azure: the host's agent
        "fd20:ce::254/128",  # Google Cloud: metadata
    )
)
_TRANSLATED = IPv6Network("64:ff9b::/96")
_Address = IPv4Address | IPv6Address


class Denied:
    """The addresses denied on this node."""

    def __init__(self, more: Iterable[str] = ()) -> None:
        """ValueError when one of `more` is neither an address nor a network."""
        self._networks = (*_ALWAYS, *(ip_network(each, strict=False) for each in more))

    def __contains__(self, address: object) -> bool:
        """Whether this address, as text, may not be reached."""
        forms = _forms(ip_address(str(address).partition("%")[0]))
        return any(form in network for form in forms for network in self._networks if form.version == network.version)


def denied_addresses(state: Path) -> Denied:
    """The addresses denied on the node of a state folder; ValueError or OSError when its file cannot be read."""
    path = state / FILE_NAME
    if not path.exists():
        return Denied()
    with path.open(encoding="utf-8") as file:
        lines = [line.partition("#")[0].strip() for line in file.read(LARGEST_FILE_BYTES).splitlines()]
    return Denied(line for line in lines if line)


def _forms(address: _Address) -> list[_Address]:
    """The address, and the IPv4 address that it carries to the same place."""
    forms: list[_Address] = [address]
    if isinstance(address, IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, address.teredo[1] if address.teredo else None]
        if address in _TRANSLATED:
            inner.append(IPv4Address(int(address) & 0xFFFF_FFFF))
        if int(address) >> 32 == 0 and int(address) > 1:  # the old compatible form
            inner.append(IPv4Address(int(address)))
        forms += [each for each in inner if each is not None]
    return forms
