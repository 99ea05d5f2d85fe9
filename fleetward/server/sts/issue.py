"""Issuing temporary credentials: session policies and tags, what a session token seals, how much of it it carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson

from fleetward.server.call import Call, Caller
from fleetward.server.errors import AwsError, ValidationException
from fleetward.server.iam import evaluate, mfa, principals
from fleetward.server.keys import TemporaryCredentials, new_access_key_id, new_secret_access_key
from fleetward.server.sts.errors import MalformedPolicyDocumentException, PackedPolicyTooLargeException

POLICY_LIMIT = 2048
"""Characters of a session policy, white space not counted."""
PACKED_LIMIT = 6000
"""Ours: bytes that session policies and tags may take in a token, which travels in a header."""

SIGN_IN = "fleetward:SignIn"
"""In a caller's context: the sign-in that its keys were given for; those of roles it assumes end with it too."""

ORIGIN = "fleetward:Origin"
"""In a caller's context: who stands at the beginning of a chain of sessions, whatever their names are."""
ACCESS_REQUEST = "fleetward:AccessRequest"
"""In a caller's context: the access request that its keys were given for."""


def origin(caller: Caller) -> str:
    """Who somebody is, even under the name of a session of a role that he assumed: a unique id, or who vouched."""
    return str(caller.context.get(ORIGIN) or caller.user_id or caller.arn)


@dataclass(frozen=True, slots=True)
class Session:
    """What limits and describes a session, sealed into its token. `transitive`: tags that go on to further roles."""

    policy: str = ""
    policy_arns: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    transitive: tuple[str, ...] = ()
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def packed_percent(self) -> int:
        """How much of what a token carries the session takes; PackedPolicyTooLarge beyond all of it."""
        size = len(self.policy.encode()) + len(orjson.dumps([self.policy_arns, self.tags, self.transitive]))
        percent = -(-size * 100 // PACKED_LIMIT)
        if percent > 100:
            raise PackedPolicyTooLargeException(
                f"Packed size of session tags and policies consumes {percent}% of allotted space."
            )
        return percent

    def sealed(self) -> dict[str, str]:
        """As the context of a token."""
        context = dict(self.more)
        if self.policy_arns:
            context["policy_arns"] = orjson.dumps(self.policy_arns).decode()
        if self.tags:
            context["tags"] = orjson.dumps(self.tags).decode()
        if self.transitive:
            context["transitive"] = orjson.dumps(self.transitive).decode()
        return context


def requested(call: Call, request: Mapping[str, Any]) -> Session:
    """The session policies and tags of a request, checked."""
    tags = _tags(request.get("Tags", ()))
    transitive = tuple(dict.fromkeys(request.get("TransitiveTagKeys", ())))
    strangers = [key for key in transitive if key not in tags]
    if strangers:
        raise ValidationException(f"The transitive tag key {strangers[0]!r} is not among the tags of the request.")
    arns = tuple(each["arn"] for each in request.get("PolicyArns", ()) if "arn" in each)
    for arn in arns:
        if not principals.managed_texts(call, call.account, [arn]):
            raise ValidationException(f"There is no managed policy {arn} in this account.")
    session = Session(_session_policy(request.get("Policy", "")), arns, tags, transitive)
    if len(arns) > 10:
        raise ValidationException("A session takes at most 10 managed policies.")
    _ = session.packed_percent
    return session


def _tags(listed: Sequence[Mapping[str, str]]) -> dict[str, str]:
    folded = [tag["Key"].lower() for tag in listed]
    if len(set(folded)) != len(folded):
        raise ValidationException("Tag keys that differ in case only are the same key: give each once.")
    if any(key.startswith("aws:") for key in folded):
        raise ValidationException("Tag keys that begin with 'aws:' are reserved.")
    return {tag["Key"]: tag["Value"] for tag in listed}


def _session_policy(text: str) -> str:
    """A session policy in short form; too long or unreadable ones are refused."""
    if not text:
        return ""
    try:
        evaluate.compile_policy(text, name="session")
    except evaluate.MalformedPolicy as fault:
        raise MalformedPolicyDocumentException(f"The session policy cannot be used: {fault}") from fault
    short = orjson.dumps(orjson.loads(text)).decode()
    if len(short) > POLICY_LIMIT:
        raise ValidationException(f"The session policy must have {POLICY_LIMIT} characters or less")
    return short


def second_factor(call: Call, request: Mapping[str, Any]) -> AwsError | dict[str, str]:
    """`{"mfa_at": …}` after a right code, `{}` where none was given; the error to return after a wrong one."""
    serial, code = request.get("SerialNumber"), request.get("TokenCode")
    if serial is None and code is None:
        return {}
    if serial is None or code is None:
        raise ValidationException("SerialNumber and TokenCode belong together: give both or none.")
    user_id = call.account if call.caller.kind == "root" else call.caller.user_id
    return mfa.verify(call, user_id, serial, code) or {"mfa_at": str(int(call.now.timestamp()))}


def issue(
    call: Call, principal: str, kind: str, lifetime: timedelta, session: Session, *, account: str = ""
) -> dict[str, Any]:
    """Temporary credentials of `principal` (an ARN), as `Credentials` of an answer; nothing of them is stored."""
    access_key_id, secret = new_access_key_id("ASIA"), new_secret_access_key()
    issued_at = call.now.replace(microsecond=0)
    context = {
        **session.sealed(),
        "account": account or call.account,
        "issued_at": str(int(issued_at.timestamp())),
    }
    token = call.keys.seal_token(
        TemporaryCredentials(
            access_key_id=access_key_id,
            secret_access_key=secret,
            principal=principal,
            kind=kind,
            expires_at=issued_at + lifetime,
            epoch=principals.epoch(call, principal),
            session_policy=session.policy,
            context=context,
        )
    )
    return {
        "AccessKeyId": access_key_id,
        "SecretAccessKey": secret,
        "SessionToken": token,
        "Expiration": issued_at + lifetime,
    }
