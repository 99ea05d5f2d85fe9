"""DescribeParameters: parameters without their values, by filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from fleetward.server import paging
from fleetward.server.call import Call
from fleetward.server.errors import ValidationException
from fleetward.server.schema import in_tenant
from fleetward.server.ssm import ssm
from fleetward.server.ssm.parameter_store import filters
from fleetward.server.ssm.parameter_store.reading import metadata
from fleetward.server.ssm.parameter_store.table import arn, parameters

PAGE = 50


@ssm.operation("DescribeParameters", reads=True)
def describe_parameters(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """This account's parameters in order of name; nothing is shared here, and the public ones are not listed."""
    old, new = request.get("Filters", ()), request.get("ParameterFilters", ())
    if old and new:
        raise ValidationException("Give Filters or ParameterFilters, not both.")
    asked = filters.of_old_listing(old) or filters.of_listing(new)
    limit = request.get("MaxResults", PAGE)
    after = (paging.decode("DescribeParameters", request.get("NextToken")) or [""])[0]
    if request.get("Shared"):
        return {"Parameters": []}
    wanted = [filters.condition(each, parameters) for each in asked]
    statement = select(parameters).where(*in_tenant(parameters), parameters.c.name > after, *wanted)
    rows = call.db.all(statement.order_by(parameters.c.name).limit(limit + 1), **call.here)
    page, more = paging.page("DescribeParameters", rows, limit, lambda row: [row.name])
    return {"Parameters": [{**metadata(call, row), "ARN": arn(call, row.name)} for row in page], **more}
