"""AWS:AWSComponent: software that AWS publishes for nodes, which is part of AWS:Application as well."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fleetward.agent.inventory import application
from fleetward.agent.inventory.rows import Row

ATTRIBUTES = ("Name", "ApplicationType", "Publisher", "Version", "InstalledTime", "Architecture", "URL")

# Names of packages; the publisher does not tell, since Amazon Linux publishes everything that it has.
_NAMES = re.compile(
    r"aws-?cli(?:v?2)?|aws-cfn-bootstrap(?:-\w+)?|aws-(?:apitools|amitools)-.+|aws-(?:nitro-enclaves|kinesis-agent).*"
    r"|(?:amazon|ec2)-.+|amazon (?:ssm agent|cloudwatch agent|inspector agent).*|aws .+|ec2(?:launch|config).*"
    r"|com\.amazon\.aws\..+",
    re.IGNORECASE,
)


def gather(asked: str = "") -> list[Row]:
    """Those of the installed applications that AWS publishes."""
    return published(application.gather())


def published(applications: Iterable[Row]) -> list[Row]:
    """Those rows of AWS:Application that are AWS's, with the attributes of this type."""
    return [
        {name: each[name] for name in ATTRIBUTES if name in each}
        for each in applications
        if _NAMES.fullmatch(each["Name"])
    ]
