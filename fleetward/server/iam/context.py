"""Context: how the facts about a caller, a request and a resource are called in the conditions of policies.

Source of names and of when a key is there at all: IAM user guide, "AWS global condition context keys". A key that does
not apply is left out, never given empty: `Null` and `...IfExists` ask whether it is there.

    who       of_principal      once per credential: aws:username, aws:PrincipalArn, aws:MultiFactorAuthPresent …
    request   of_request        at each decision that asks: aws:SourceIp, aws:CurrentTime, aws:UserAgent …
              requested_tags    what an operation declares with `conditions=`: aws:RequestTag/…, aws:TagKeys
              passed_to, via    what code adds where it decides: iam:PassedToService, aws:CalledVia
    resource  of_tags           aws:ResourceTag/…, ssm:resourceTag/…
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

Conditions = Mapping[str, str | Sequence[str]]
"""Condition keys, `aws:RequestTag/env`, with their value or values."""

PRINCIPAL_TYPES = {
    "root": "Account",
    "user": "User",
    "role": "AssumedRole",
    "node": "AssumedRole",
    "federated": "FederatedUser",
    "anonymous": "Anonymous",
}
"""Kind of caller -> aws:PrincipalType."""


REQUEST_KEYS = frozenset(
    f"aws:{name}"
    for name in (
        "currenttime",
        "epochtime",
        "referer",
        "requestedregion",
        "resourceaccount",
        "securetransport",
        "sourceip",
        "useragent",
        "viaawsservice",
    )
)
"""What `of_request` gives, and aws:ResourceAccount, lower-cased."""


def of_principal(
    *,
    kind: str,
    arn: str,
    account: str,
    user_id: str,
    role_arn: str = "",
    tags: Mapping[str, str] | None = None,
    issued_at: datetime | None = None,
    mfa_at: datetime | None = None,
    now: datetime | None = None,
) -> dict[str, str | Sequence[str]]:
    """The keys that hold as long as a caller uses the same credentials.

    `arn`: the user, the root or the session; `role_arn`: the role of a session, which is what aws:PrincipalArn names.
    `issued_at`: when temporary credentials were made, None for long-lived keys, which have no aws:MultiFactorAuth…;
    `mfa_at`: when a code of a second factor was shown for them; `now` then tells its age in seconds.
    """
    keys: dict[str, str | Sequence[str]] = {
        "aws:PrincipalArn": role_arn or arn,
        "aws:PrincipalAccount": account,
        "aws:PrincipalType": PRINCIPAL_TYPES[kind],
        "aws:PrincipalIsAWSService": "false",
    }
    if user_id:
        keys["aws:userid"] = user_id
    if ":user/" in arn:
        keys["aws:username"] = arn.rsplit("/", 1)[-1]
    if issued_at is not None:
        keys["aws:TokenIssueTime"] = _time(issued_at)
        keys["aws:MultiFactorAuthPresent"] = "false" if mfa_at is None else "true"
    if mfa_at is not None and now is not None:
        keys["aws:MultiFactorAuthAge"] = str(max(0, int((now - mfa_at).total_seconds())))
    keys.update({f"aws:PrincipalTag/{key}": value for key, value in (tags or {}).items()})
    return keys


def of_request(
    *, now: datetime, region: str, source_ip: str, secure: bool, user_agent: str, referer: str
) -> dict[str, str]:
    """The keys of one request, whoever makes it; the time counts in whole seconds."""
    keys = {
        "aws:CurrentTime": _time(now),
        "aws:EpochTime": str(int(now.timestamp())),
        "aws:RequestedRegion": region,
        "aws:SecureTransport": "true" if secure else "false",
        "aws:ViaAWSService": "false",
    }
    heard = {"aws:SourceIp": source_ip, "aws:UserAgent": user_agent, "aws:Referer": referer}
    return keys | {key: value for key, value in heard.items() if value}


def of_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """A resource's tags, under the global name and that of Systems Manager."""
    return {
        f"{prefix}/{key}": value for key, value in tags.items() for prefix in ("aws:ResourceTag", "ssm:resourceTag")
    }


def requested_tags(tags: Iterable[Mapping[str, Any]], *, key: str = "Key", value: str = "Value") -> Conditions:
    """Tags that a request asks for, `[{"Key", "Value"}]`; empty: no tags are asked for, and aws:TagKeys is missing."""
    asked = {str(tag.get(key, "")): str(tag.get(value, "")) for tag in tags}
    found: dict[str, str | Sequence[str]] = {f"aws:RequestTag/{name}": text for name, text in asked.items()}
    return found | {"aws:TagKeys": tuple(asked)} if asked else found


def tags_of(member: str, *, key: str = "Key", value: str = "Value") -> Callable[[Any, Mapping[str, Any]], Conditions]:
    """`conditions=` of an operation whose request has a map of tags under `member`, or a list: `[{key, value}]`."""

    def conditions(_: Any, request: Mapping[str, Any]) -> Conditions:
        given = request.get(member) or ()
        if isinstance(given, Mapping):
            given = [{key: name, value: text} for name, text in given.items()]
        return requested_tags(given, key=key, value=value)

    return conditions


def tag_keys_of(member: str) -> Callable[[Any, Mapping[str, Any]], Conditions]:
    """`conditions=` of an operation that takes away tags by the keys listed under `member`."""
    return lambda _, request: {"aws:TagKeys": tuple(request.get(member) or ())}


def passed_to(service: str) -> Conditions:
    """What iam:PassRole is decided with where a role is handed to a service such as `ssm.amazonaws.com`."""
    return {"iam:PassedToService": service}


def via(*services: str) -> Conditions:
    """What a call is decided with that services make for the caller, the one called first in front."""
    return {
        "aws:ViaAWSService": "true",
        "aws:CalledVia": services,
        "aws:CalledViaFirst": services[0],
        "aws:CalledViaLast": services[-1],
    }


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
