"""References: what a command names must be there, as far as its sender may know."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.ssm.errors import InvalidParameters
from fleetward.server.ssm.parameter_store import references


def test_what_is_named_must_be_there_and_no_secret(world: Any, store: Any) -> None:
    store.put("/a/b", "x")
    store.put("secret", "s", Type="SecureString")
    world.do(lambda call: references.check(call, {"commands": ["echo {{ssm:/a/b}} {{ ssm:/a/b:1 }} {{ssm-secure:x}}"]}))
    for text in ("{{ssm:/a}}", "{{ssm:/a/b:2}}", "{{ssm:secret}}"):
        with pytest.raises(InvalidParameters):
            world.do(lambda call, text=text: references.check(call, [text]))


def test_who_may_not_read_is_told_nothing(world: Any, store: Any) -> None:
    other = world.as_role({"Effect": "Allow", "Action": "ssm:SendCommand", "Resource": "*"})
    world.do(lambda call: references.check(call, "{{ssm:none}}"), context=other)
