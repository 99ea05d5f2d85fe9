"""The `store` fixture: a Parameter Store to write to and to read from."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server import kms
from fleetward.server.ssm import parameter_store  # noqa: F401  (registers its operations)


class Store:
    """Short words for the operations, called as root unless told otherwise."""

    def __init__(self, world: Any) -> None:
        self.world = world

    def put(self, name: str, value: str = "a", by: Any = "root", **more: Any) -> int:
        """The version that a value becomes; an existing parameter is overwritten."""
        request = {"Name": name, "Value": value, "Overwrite": True, **more}
        if "Type" not in more and not self.names(Key="Name", Values=[name]):
            request["Type"] = "String"
        return int(self.world.call("PutParameter", request, by)["Version"])

    def get(self, name: str, by: Any = "root", **more: Any) -> dict[str, Any]:
        """A parameter, in clear."""
        found: dict[str, Any] = self.world.call("GetParameter", {"Name": name, "WithDecryption": True, **more}, by)
        return found["Parameter"]

    def value(self, name: str) -> str:
        """A parameter's value in clear."""
        return str(self.get(name)["Value"])

    def names(self, **parameter_filter: Any) -> list[str]:
        """The names that DescribeParameters lists by one filter."""
        given = {"ParameterFilters": [parameter_filter]} if parameter_filter else {}
        return [each["Name"] for each in self.world.call("DescribeParameters", given)["Parameters"]]

    def below(self, path: str, by: Any = "root", **more: Any) -> list[str]:
        """The names of GetParametersByPath, all pages."""
        found: list[str] = []
        request = {"Path": path, **more}
        while True:
            answer = self.world.call("GetParametersByPath", request, by)
            found += [each["Name"] for each in answer["Parameters"]]
            if "NextToken" not in answer:
                return found
            request["NextToken"] = answer["NextToken"]


@pytest.fixture
def store(world: Any) -> Store:
    """Parameter Store of the world, with the keys that an account has from its start."""
    world.do(kms.create_managed_keys)
    return Store(world)
