"""The `fleet` fixture: machines that register, ask for tokens and send heartbeats through the real operations."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fleetward.server.call import Context, anonymous
from fleetward.server.iam import principals
from fleetward.server.keys import TemporaryCredentials
from fleetward.server.ssm import activations, nodes, ssm  # noqa: F401  (activations registers its operations)


@cache
def public_key(number: int, bits: int = 2048) -> str:
    """The base64 public key of the machine with this number."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits).public_key()
    return base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


class Fleet:
    """Machines of one world. `admit` makes nodes quickly; `join` goes the whole way by an activation."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self._numbers = itertools.count(1)
        world.do(principals.create_first_roles)

    def public_key(self, number: int = 1, bits: int = 2048) -> str:
        """The base64 public key of the machine with this number; made once for all tests."""
        return public_key(number, bits)

    def activation(self, **members: Any) -> tuple[str, str]:
        """A new activation: its id and code."""
        made = self.world.call("CreateActivation", {"IamRole": "SSMServiceRole", **members})
        return made["ActivationId"], made["ActivationCode"]

    def register(self, activation: tuple[str, str], key: str | None = None, fingerprint: str = "first") -> str:
        """The node id of a machine that registers."""
        request = {
            "ActivationId": activation[0],
            "ActivationCode": activation[1],
            "PublicKey": key or self.public_key(),
            "PublicKeyType": "Rsa",
            "Fingerprint": fingerprint,
        }
        node_id: str = self.world.call("RegisterManagedInstance", request, self.anonymous())["InstanceId"]
        return node_id

    def join(self, key: str | None = None, **members: Any) -> str:
        """A machine registers by an activation of its own; its node id."""
        return self.register(self.activation(**members), key)

    def admit(self, *, name: str = "", tags: Mapping[str, str] | None = None, role: str = "SSMServiceRole") -> str:
        """A node made without activation and RSA key, for tests of many nodes."""
        admission = nodes.Admission(
            activation_id="00000000-0000-0000-0000-000000000000",
            iam_role=role,
            name=name,
            tags=tags or {},
            public_key=str(next(self._numbers)).encode(),
            fingerprint="first",
        )
        node_id: str = self.world.do(lambda call: nodes.admit(call, admission))
        return node_id

    def anonymous(self) -> Context:
        """Who calls without a signature."""
        caller = anonymous(self.world.account)
        return Context(account=self.world.account, region=self.world.region, caller=caller)

    def node(self, node_id: str, *, previous_key: bool = False) -> Context:
        """A node as the edge presents it, by its own key or temporary keys."""
        context = self.world.as_node(node_id)
        keys = {"ssm:SourceInstanceARN": context.caller.arn}
        if previous_key:
            keys["fleetward:PreviousKey"] = "true"
        return replace(context, caller=replace(context.caller, context=keys))

    def token(self, node_id: str, fingerprint: str = "first", *, previous_key: bool = False) -> dict[str, Any]:
        """What RequestManagedInstanceRoleToken answers the node."""
        caller = self.node(node_id, previous_key=previous_key)
        answer: dict[str, Any] = self.world.call(
            "RequestManagedInstanceRoleToken", {"Fingerprint": fingerprint}, caller
        )
        return answer

    def open(self, token: Mapping[str, Any]) -> TemporaryCredentials:
        """The credentials that a token carries."""
        return self.world.runner.keys.open_token(token["SessionToken"], token["AccessKeyId"])  # type: ignore[no-any-return]

    def is_good(self, token: Mapping[str, Any]) -> bool:
        """Whether the token's credentials are not revoked, as the edge decides it."""
        credentials = self.open(token)
        return credentials.epoch >= self.world.do(lambda call: principals.epoch(call, credentials.principal))

    def rekey(self, node_id: str, key: str, *, previous_key: bool = False) -> None:
        """The node changes its key."""
        request = {"NewPublicKey": key, "NewPublicKeyType": "Rsa"}
        self.world.call("UpdateManagedInstancePublicKey", request, self.node(node_id, previous_key=previous_key))

    def beat(self, node_id: str, **facts: str) -> None:
        """A heartbeat of the node."""
        self.world.call("UpdateInstanceInformation", {"InstanceId": node_id, **facts}, self.node(node_id))

    def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function(call, *arguments)` in one transaction, as the server."""
        return self.world.do(lambda call: function(call, *arguments))


@pytest.fixture
def fleet(world: Any) -> Fleet:
    """Machines of `world`, whose account has its first roles."""
    return Fleet(world)
