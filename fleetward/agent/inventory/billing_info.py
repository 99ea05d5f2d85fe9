"""AWS:BillingInfo: the products that an EC2 instance is billed for; machines elsewhere have none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

from fleetward.agent.inventory.rows import Row, row
from fleetward.agent.platforms.registry import key_values

METADATA = "http://169.254.169.254/latest"
SECONDS = 2.0
VENDORS = (Path("/sys/class/dmi/id/sys_vendor"), Path("/sys/class/dmi/id/bios_vendor"))
FIRMWARE = r"HKEY_LOCAL_MACHINE\HARDWARE\DESCRIPTION\System\BIOS"

Ask = Callable[[str, str, dict[str, str]], str]


def gather(asked: str = "") -> list[Row]:
    """The products that the instance's identity document names."""
    if not is_ec2(_vendor()):
        return []
    try:
        return read(_document(_ask))
    except OSError:
        return []


def is_ec2(vendor: str) -> bool:
    """Whether the firmware's vendor is EC2's; only there the address of the metadata is asked."""
    return vendor.strip() in ("Amazon EC2", "Amazon")


def read(document: str) -> list[Row]:
    """The rows of an identity document."""
    try:
        found = json.loads(document)
    except ValueError:
        return []
    products = found.get("billingProducts") if isinstance(found, dict) else None
    return [row({"BillingProductId": product}) for product in products or []]


def _document(ask: Ask) -> str:
    token = ask("PUT", f"{METADATA}/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    return ask("GET", f"{METADATA}/dynamic/instance-identity/document", {"X-aws-ec2-metadata-token": token})


def _ask(method: str, url: str, headers: dict[str, str]) -> str:
    request = Request(url, method=method, headers=headers)  # noqa: S310 - the address is ours
    with build_opener(ProxyHandler({})).open(request, timeout=SECONDS) as answer:
        body: bytes = answer.read(64 * 1024)
    return body.decode(errors="replace")


def _vendor() -> str:
    for path in VENDORS:
        try:
            return path.read_text(errors="replace")
        except OSError:
            continue
    return str(key_values(FIRMWARE).get("SystemManufacturer") or "")
