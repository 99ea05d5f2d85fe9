"""Inventory: what is on this node, one file for each inventory type (AP 18).

The resident process imports none of it: `plugins/software_inventory.py` runs it as a child, which is gone once it has
reported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from fleetward.agent.inventory.rows import Row

ENABLED = "Enabled"


@dataclass(frozen=True, slots=True)
class InventoryType:
    """One type: which file gathers it, and which input of the step asks for it.

    `is_filter`: the input is not a word but says in JSON what to look for.
    """

    name: str
    module: str
    parameter: str
    schema_version: str = "1.0"
    is_filter: bool = False
    is_windows_only: bool = False

    def gather(self, asked: str) -> list[Row]:
        """What this node has of it; `asked` is the input's text. GatherFault when that cannot be told."""
        rows: Callable[[str], list[Row]] = import_module(f"{__name__}.{self.module}").gather
        return rows(asked)


TYPES = (
    InventoryType("AWS:Application", "application", "applications", schema_version="1.1"),
    InventoryType("AWS:AWSComponent", "aws_component", "awsComponents"),
    InventoryType("AWS:BillingInfo", "billing_info", "billingInfo"),
    InventoryType("AWS:File", "file", "files", is_filter=True),
    InventoryType("AWS:InstanceDetailedInformation", "instance_detailed_information", "instanceDetailedInformation"),
    InventoryType("AWS:Network", "network", "networkConfig"),
    InventoryType("AWS:Service", "service", "services"),
    InventoryType("AWS:WindowsRegistry", "windows_registry", "windowsRegistry", is_filter=True, is_windows_only=True),
    InventoryType("AWS:WindowsRole", "windows_role", "windowsRoles", is_windows_only=True),
    InventoryType("AWS:WindowsUpdate", "windows_update", "windowsUpdates", is_windows_only=True),
)
