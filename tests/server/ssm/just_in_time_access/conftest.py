"""The `office` fixture: people who ask for access, and those who approve it, through the real operations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fleetward.server import own
from fleetward.server.call import Caller, Context
from fleetward.server.iam import api, evaluate
from fleetward.server.keys import TemporaryCredentials
from fleetward.server.service import Timer
from fleetward.server.ssm import just_in_time_access, ssm
from fleetward.server.ssm.documents import cedar
from fleetward.server.sts import issue

EVERYTHING = evaluate.PolicySet(
    identity=(
        evaluate.compile_policy(
            {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}, name="all"
        ),
    )
)
ACTION = 'action == AWS::SSM::Action::"getTokenForInstanceAccess"'


class Office:
    """One account with people, policies and nodes."""

    def __init__(self, world: Any, fleet: Any) -> None:
        self.world = world
        self.fleet = fleet
        self.account = world.account
        world.services["fleetward"] = own.own
        world.services["iam"] = api.iam

    def user(self, name: str, *groups: str, **tags: str) -> Context:
        """A new user who may do everything that policies of access allow, as the edge presents him."""
        user_id = self.world.call("iam:CreateUser", {"UserName": name})["User"]["UserId"]
        for group in groups:
            self.world.call("iam:AddUserToGroup", {"UserName": name, "GroupName": group})
        return self.as_user(name, user_id, **tags)

    def as_user(self, name: str, user_id: str, **tags: str) -> Context:
        """Who signs with a key of this user."""
        keys = {"aws:username": name, **{f"aws:PrincipalTag/{key}": value for key, value in tags.items()}}
        arn = f"arn:aws:iam::{self.account}:user/{name}"
        return self._context("user", arn, user_id, keys)

    def group(self, name: str) -> str:
        """A new group."""
        self.world.call("iam:CreateGroup", {"GroupName": name})
        return name

    def role(self, name: str) -> str:
        """A new role's unique id."""
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}  # fmt: skip # noqa: E501
        made = self.world.call("iam:CreateRole", {"RoleName": name, "AssumeRolePolicyDocument": json.dumps(trust)})
        return str(made["Role"]["RoleId"])

    def session(self, role: str, role_id: str, name: str, origin: str = "") -> Context:
        """A session of a role under a name of its own choice, begun by `origin`."""
        arn = f"arn:aws:sts::{self.account}:assumed-role/{role}/{name}"
        keys = {issue.ORIGIN: origin} if origin else {}
        return self._context("role", arn, f"{role_id}:{name}", keys)

    def may(self, who: Context, *statements: Mapping[str, Any]) -> Context:
        """The same caller with these permissions instead of all."""
        policy = evaluate.compile_policy({"Version": "2012-10-17", "Statement": list(statements)}, name="own")
        return replace(who, caller=replace(who.caller, policies=evaluate.PolicySet(identity=(policy,))))

    def policy(self, name: str, *approvers: tuple[str, str], minimum: int = 1, **members: Any) -> None:
        """A manual approval policy of one level, unless `levels` says otherwise."""
        levels = [
            {"minimumApprovals": minimum, "approvers": [{"type": kind, "name": each} for kind, each in approvers]}
        ]
        content = {"schemaVersion": "1.0", "accessDurationHours": 2, "levels": levels, **members}
        request = {"Name": name, "Content": json.dumps(content), "DocumentType": "ManualApprovalPolicy"}
        self.world.call("CreateDocument", request)

    def permit(self, condition: str, principal: str = "principal") -> None:
        """What is approved by itself."""
        self._cedar(cedar.AUTO_APPROVAL, f"permit ({principal}, {ACTION}, resource) when {{ {condition} }};")

    def forbid(self, condition: str) -> None:
        """What is never approved by itself."""
        self._cedar(cedar.DENY_ACCESS, f"forbid (principal, {ACTION}, resource) when {{ {condition} }};")

    def _cedar(self, name: str, text: str) -> None:
        self.world.call("CreateDocument", {"Name": name, "Content": text, "DocumentType": "AutoApprovalPolicy"})

    def ask(self, who: Context, *node_ids: str, **members: Any) -> str:
        """A new access request's id."""
        request = {"Reason": "a ticket", "Targets": [{"Key": "InstanceIds", "Values": list(node_ids)}], **members}
        return str(self.world.call("StartAccessRequest", request, who)["AccessRequestId"])

    def token(self, who: Context, request_id: str) -> Any:
        """What GetAccessToken answers."""
        return self.world.call("GetAccessToken", {"AccessRequestId": request_id}, who)

    def status(self, who: Context, request_id: str) -> str:
        """The state of a request, as its maker sees it."""
        return str(self.token(who, request_id)["AccessRequestStatus"])

    def answer(self, operation: str, who: Context | str, request_id: str, **members: Any) -> Any:
        """ApproveAccessRequest, RejectAccessRequest or RevokeAccess."""
        return self.world.call(f"fleetward:{operation}", {"AccessRequestId": request_id, **members}, who)

    def queue(self, who: Context | str, view: str = "ToAnswer", **members: Any) -> list[str]:
        """The ids of the requests that somebody sees."""
        pages = self.world.pages("fleetward:ListAccessRequests", {"View": view, **members}, "AccessRequests", who)
        return [each["AccessRequestId"] for page in pages for each in page]

    def approved(self, who: Context, *node_ids: str, **policy: Any) -> str:
        """A request that somebody called `boss` has approved."""
        boss = self.user("boss")
        self.policy("Approved-by-boss", ("IamUser", "boss"), **policy)
        request_id = self.ask(who, *node_ids)
        self.answer("ApproveAccessRequest", boss, request_id)
        return request_id

    def open(self, credentials: Mapping[str, Any]) -> TemporaryCredentials:
        """What the keys of an answer carry."""
        opened: TemporaryCredentials = self.world.runner.keys.open_token(
            credentials["SessionToken"], credentials["AccessKeyId"]
        )
        return opened

    def lives(self, credentials: Mapping[str, Any]) -> bool:
        """Whether the keys of an answer still count, as the edge asks."""
        sealed = self.open(credentials).context or {}
        asked = (self.account, sealed["access_request"])
        return bool(self.world.entry(just_in_time_access.lives, reads=True)(asked))

    def pass_time(self, **by: float) -> None:
        """Move the clock and run this capability's timers."""
        self.world.clock.advance(timedelta(**by))
        for timer in ssm.timers:
            if ".ending." in timer.name and timer.entry.function.__module__ == just_in_time_access.ending.__name__:
                self.run(timer)

    def run(self, timer: Timer) -> None:
        """One timer's entry in the account."""
        self.world.do(timer.entry.function)

    def _context(self, kind: str, arn: str, user_id: str, keys: Mapping[str, str]) -> Context:
        caller = Caller(kind=kind, arn=arn, account=self.account, user_id=user_id, policies=EVERYTHING, context=keys)
        return Context(account=self.account, region=self.world.region, caller=caller, request_id="test")


@pytest.fixture
def office(world: Any, fleet: Any) -> Office:
    """People and policies of `world`."""
    return Office(world, fleet)
