"""Public parameters: they tell what is true, and nobody changes them."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward import __version__
from fleetward.server.app import SERVICES
from fleetward.server.errors import AccessDeniedException
from fleetward.server.ssm.parameter_store import public


def test_they_say_what_there_is(world: Any, store: Any) -> None:
    assert set(public.SERVICES) == {service.name for service in SERVICES if service.name != "fleetward"}
    assert store.value("/aws/service/fleetward-agent/version") == __version__
    regions = "/aws/service/global-infrastructure/regions"
    assert store.below(regions) == [f"{regions}/us-east-1"]
    assert len(store.below(regions, Recursive=True)) == 1 + len(public.SERVICES)
    assert store.get(f"{regions}/us-east-1")["ARN"].startswith("arn:aws:ssm:us-east-1::parameter/aws/service/")
    assert store.names() == []


def test_they_cannot_be_written(world: Any, store: Any) -> None:
    with pytest.raises(AccessDeniedException):
        world.call("PutParameter", {"Name": "/aws/service/x", "Value": "a", "Type": "String"})
