"""Valid calls of Parameter Store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Make = Callable[[Any], dict[str, Any]]
NAME = "/calls/one"


def _put(stage: Any) -> dict[str, Any]:
    return {"Name": NAME, "Value": "a", "Type": "String", "Overwrite": True}


def _there(stage: Any) -> dict[str, Any]:
    stage.root("PutParameter", **_put(stage))
    return {"Name": NAME}


def _labelled(stage: Any) -> dict[str, Any]:
    stage.root("LabelParameterVersion", **_there(stage), ParameterVersion=1, Labels=["calls"])
    return {"Name": NAME, "ParameterVersion": 1, "Labels": ["calls"]}


PARAMETER_STORE_CALLS: Mapping[str, Make] = {
    "ssm:PutParameter": _put,
    "ssm:GetParameter": _there,
    "ssm:GetParameters": lambda stage: {"Names": [_there(stage)["Name"]]},
    "ssm:GetParametersByPath": lambda stage: {"Path": "/calls", "Recursive": bool(_there(stage))},
    "ssm:GetParameterHistory": _there,
    "ssm:DescribeParameters": lambda stage: {"ParameterFilters": [{"Key": "Name", "Values": [_there(stage)["Name"]]}]},
    "ssm:DeleteParameter": _there,
    "ssm:DeleteParameters": lambda stage: {"Names": [_there(stage)["Name"]]},
    "ssm:LabelParameterVersion": lambda stage: {**_there(stage), "Labels": ["calls"]},
    "ssm:UnlabelParameterVersion": _labelled,
}
