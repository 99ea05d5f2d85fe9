"""The `uploads` fixture: nodes and operators that put compliance items, and what is listed of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from fleetward.server.ssm import compliance  # noqa: F401  (registers its operations)


def item(name: str, status: str = "COMPLIANT", severity: str = "UNSPECIFIED", **details: str) -> dict[str, Any]:
    """One item as a request carries it."""
    return {"Id": name, "Title": name.title(), "Status": status, "Severity": severity, "Details": details}


def where(key: str, *values: str, kind: str = "EQUAL") -> dict[str, Any]:
    """One filter as a request carries it."""
    return {"Key": key, "Values": list(values), "Type": kind}


class Uploads:
    """Puts items for nodes of `fleet` and reads them back."""

    def __init__(self, world: Any) -> None:
        self.world = world

    def put(
        self,
        node_id: str,
        items: Sequence[Mapping[str, Any]],
        kind: str = "Custom:Disks",
        by: Any = "root",
        **more: Any,
    ) -> Any:
        """An upload of `kind` whose execution is that of now."""
        request = {
            "ResourceId": node_id,
            "ResourceType": "ManagedInstance",
            "ComplianceType": kind,
            "ExecutionSummary": {"ExecutionTime": self.now()},
            "Items": list(items),
            **more,
        }
        return self.world.call("PutComplianceItems", request, by)

    def now(self) -> datetime:
        """The present, a whole second."""
        now: datetime = self.world.clock.now()
        return now - timedelta(microseconds=now.microsecond)

    def items(self, *filters: Mapping[str, Any], **request: Any) -> list[dict[str, Any]]:
        """What ListComplianceItems lists, all pages."""
        pages = self.world.pages("ListComplianceItems", {"Filters": list(filters), **request}, "ComplianceItems")
        return [each for page in pages for each in page]

    def ids(self, *filters: Mapping[str, Any], **request: Any) -> list[str]:
        """The ids of the items listed."""
        return [each["Id"] for each in self.items(*filters, **request)]

    def states(self, *filters: Mapping[str, Any], **request: Any) -> list[dict[str, Any]]:
        """What ListResourceComplianceSummaries lists, all pages."""
        member = "ResourceComplianceSummaryItems"
        pages = self.world.pages("ListResourceComplianceSummaries", {"Filters": list(filters), **request}, member)
        return [each for page in pages for each in page]

    def types(self, *filters: Mapping[str, Any], **request: Any) -> dict[str, tuple[int, int]]:
        """Of each type, the nodes that comply and those that do not, all pages."""
        member = "ComplianceSummaryItems"
        pages = self.world.pages("ListComplianceSummaries", {"Filters": list(filters), **request}, member)
        return {
            each["ComplianceType"]: (
                each["CompliantSummary"]["CompliantCount"],
                each["NonCompliantSummary"]["NonCompliantCount"],
            )
            for page in pages
            for each in page
        }


@pytest.fixture
def uploads(world: Any) -> Uploads:
    """Uploads to `world`."""
    return Uploads(world)
