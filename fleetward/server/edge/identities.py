"""Identities: from the name in a signature to the secret it is checked with and the caller it stands for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from fleetward.protocol import sigv4
from fleetward.server import regions
from fleetward.server.call import Call, Caller, Context, service_context
from fleetward.server.errors import ExpiredTokenException, UnrecognizedClientException
from fleetward.server.iam import context as keys_of
from fleetward.server.iam import principals
from fleetward.server.iam.context import Conditions
from fleetward.server.keys import KeyFault, KeyRing, TemporaryCredentials
from fleetward.server.service import Entry
from fleetward.server.settings import Settings
from fleetward.server.sign_ins import sessions
from fleetward.server.sts import issue

REMEMBER = timedelta(seconds=0.5)
"""Twice, for what is looked up and for the identity made of it: nothing counts that is older than a second."""
REMEMBERED_LIMIT = 20_000

FIND_KEY = Entry("identities.access-key", principals.find_access_key, reads=True)
STANDING = Entry("identities.standing", principals.standing, reads=True)
STANDING_OF_ROLE = Entry("identities.standing-of-role", principals.standing_of_role, reads=True)
MANAGED_TEXTS = Entry(
    "identities.managed-texts", lambda call, asked: principals.managed_texts(call, asked[0], asked[1]), reads=True
)
EPOCHS_SINCE = Entry("identities.epochs", principals.epochs_since, reads=True)
RECORD_USES = Entry("identities.record-uses", principals.record_uses, audit=False)
SIGN_IN_LIVES = Entry("identities.sign-in-lives", sessions.lives, reads=True)
REGIONS = Entry("identities.regions", regions.names, reads=True)

USES_EVERY = timedelta(minutes=1)
"""How often at most the last use of one key or role is written down."""

EVERYTHING = (("root", '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}'),)

Run = Callable[[Entry, Context, Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller whose signature is still to be checked with `secret`, or with `public_keys` (a node's own)."""

    caller: Caller
    secret: str = ""
    public_keys: tuple[bytes, ...] = ()


class Identities:
    """Looks identities up, with a memory of a second; knows which credentials are revoked and which regions served."""

    def __init__(
        self, run: Run, keys: KeyRing, settings: Settings, signing_keys: Entry, access_lives: Entry | None = None
    ) -> None:
        self._run = run
        self._keys = keys
        self._settings = settings
        self._signing_keys = signing_keys
        self._access_lives = access_lives
        self.regions = settings.region
        self._remembered: dict[tuple[Any, ...], tuple[datetime, Any]] = {}
        self._known: dict[tuple[str, str, str], tuple[datetime, Identity, TemporaryCredentials | None]] = {}
        self._epochs: dict[str, int] = {}
        self._uses: dict[str, principals.Use] = {}
        self._uses_written: dict[str, datetime] = {}
        self._epochs_read_at = datetime.fromtimestamp(0).astimezone()

    async def refresh(self, now: datetime) -> None:
        """Read the epochs that changed and the regions; called every second and on every wake of their topics."""
        context = service_context(self._settings.account, self._settings.default_region)
        self._epochs.update(await self._run(EPOCHS_SINCE, context, self._epochs_read_at))
        self._epochs_read_at = now
        self.regions = await self._run(REGIONS, context, {})

    def used(self, caller: Caller, region: str, service: str, now: datetime) -> None:
        """Note that a long-lived key or a role was used; `write_uses` stores it, at most once a minute for each."""
        name = caller.access_key_id if caller.access_key_id.startswith("AKIA") else caller.user_id.partition(":")[0]
        if name.startswith(("AKIA", "AROA")):
            written = self._uses_written.get(name)
            if written is None or now - written >= USES_EVERY:
                self._uses[name] = principals.Use(name, now, region, service)

    async def write_uses(self, now: datetime) -> None:
        """Store the uses noted since the last time; called every second."""
        if not self._uses:
            return
        uses, self._uses = list(self._uses.values()), {}
        if len(self._uses_written) >= REMEMBERED_LIMIT:
            self._uses_written.clear()
        self._uses_written.update({use.name: now for use in uses})
        context = service_context(self._settings.account, self._settings.default_region)
        await self._run(RECORD_USES, context, uses)

    def region_refusal(self, region: str) -> str:
        """The sentence for a signature of a region that is not served."""
        return regions.refusal(region, self.regions)

    def forget(self) -> None:
        """Something about keys or roles changed: look everything up anew."""
        self._remembered.clear()
        self._known.clear()

    async def of(self, claim: sigv4.Claim, session_token: str | None, now: datetime) -> Identity:
        """The identity that `claim` names; raises UnrecognizedClientException or ExpiredTokenException."""
        if claim.is_rsa:
            return await self._node_by_key(claim, now)
        name = (claim.access_key_id, session_token or "", claim.region)
        known = self._known.get(name)
        if known is not None and now - known[0] < REMEMBER:
            if known[2] is not None:
                self._check_validity(known[2], now)
            return known[1]
        credentials = self._opened(claim, session_token, now) if session_token else None
        if credentials is not None:
            caller = await self._caller(credentials, claim.region, now)
            identity = Identity(caller, credentials.secret_access_key)
        else:
            identity = await self._long_lived(claim.access_key_id, claim.region, now)
        if len(self._known) >= REMEMBERED_LIMIT:
            self._known.clear()
        self._known[name] = (now, identity, credentials)
        return identity

    async def holder(self, access_key_id: str, session_token: str, region: str, now: datetime) -> Caller | None:
        """Who holds these keys now, be temporary ones past their time; None when they were revoked or deleted."""
        try:
            if not session_token:
                return (await self._long_lived(access_key_id, region, now)).caller
            credentials = self._keys.open_token(session_token, access_key_id)
            self._check_epoch(credentials)
            return await self._caller(credentials, region, now)
        except (UnrecognizedClientException, ExpiredTokenException, KeyFault):
            return None

    async def _long_lived(self, access_key_id: str, region: str, now: datetime) -> Identity:
        key = await self._lookup(FIND_KEY, region, access_key_id, now)
        if key is None or not key.active:
            raise UnrecognizedClientException("The security token included in the request is invalid.")
        base = Caller(
            kind="root",
            arn=key.principal,
            account=key.account,
            user_id=key.user_id,
            access_key_id=key.access_key_id,
            context=keys_of.of_principal(kind="root", arn=key.principal, account=key.account, user_id=key.user_id),
        )
        if key.principal == principals.root_arn(key.account):
            return Identity(base, key.secret_access_key)
        standing = await self._standing(key.user_id, region, now)
        if standing is None:
            raise UnrecognizedClientException("The security token included in the request is invalid.")
        context = keys_of.of_principal(
            kind="user", arn=standing.arn, account=key.account, user_id=key.user_id, tags=dict(standing.tags)
        )
        user = replace(base, kind="user", arn=standing.arn, policies=standing.policies(), context=context)
        return Identity(user, key.secret_access_key)

    async def _node_by_key(self, claim: sigv4.Claim, now: datetime) -> Identity:
        found = await self._lookup(self._signing_keys, claim.region, claim.access_key_id, now)
        if found is None:
            raise UnrecognizedClientException(f"There is no managed node {claim.access_key_id}.")
        arn = principals.node_arn(self._settings.account, claim.region, claim.access_key_id)
        caller = Caller(
            kind="node",
            arn=arn,
            account=self._settings.account,
            node_id=claim.access_key_id,
            access_key_id=claim.access_key_id,
            policies=principals.node_policies(),
            context={
                **keys_of.of_principal(kind="node", arn=arn, account=self._settings.account, user_id=""),
                "ssm:SourceInstanceARN": arn,
            },
        )
        return Identity(caller, public_keys=tuple(key for key in found if key))

    def _opened(self, claim: sigv4.Claim, session_token: str, now: datetime) -> TemporaryCredentials:
        try:
            credentials = self._keys.open_token(session_token, claim.access_key_id)
        except KeyFault as fault:
            raise UnrecognizedClientException("The security token included in the request is invalid.") from fault
        self._check_validity(credentials, now)
        return credentials

    def _check_validity(self, credentials: TemporaryCredentials, now: datetime) -> None:
        if credentials.expires_at <= now:
            raise ExpiredTokenException("The security token included in the request is expired")
        self._check_epoch(credentials)

    def _check_epoch(self, credentials: TemporaryCredentials) -> None:
        if credentials.epoch < self._epochs.get(credentials.principal, 0):
            raise ExpiredTokenException("The security token included in the request was revoked")

    async def _caller(self, credentials: TemporaryCredentials, region: str, now: datetime) -> Caller:
        sealed = credentials.context or {}
        account = sealed.get("account") or credentials.principal.split(":")[4]
        base = Caller(
            kind=credentials.kind,
            arn=credentials.principal,
            account=account,
            user_id=sealed.get("user_id", ""),
            access_key_id=credentials.access_key_id,
        )
        if "sign_in" in sealed and not await self._lookup(SIGN_IN_LIVES, region, (account, sealed["sign_in"]), now):
            raise ExpiredTokenException("The sign-in that this security token was given for has ended")
        if "access_request" in sealed:
            asked = (account, sealed["access_request"])
            if self._access_lives is None or not await self._lookup(self._access_lives, region, asked, now):
                raise ExpiredTokenException("The access that this security token was given for has ended")
        if credentials.kind == "root":
            return replace(base, context=_session_keys(base, sealed, now))
        if credentials.kind == "node":
            return await self._node(base, sealed, region, now)
        if credentials.kind == "federated":
            return await self._federated(base, credentials, region, now)
        arns = tuple(orjson.loads(sealed.get("policy_arns", "[]")))
        standing = await self._standing(base.user_id.partition(":")[0], region, now, arns)
        if standing is None:
            raise ExpiredTokenException("The user or role of this security token no longer exists")
        base = base if credentials.kind == "role" else replace(base, arn=standing.arn)
        policies = standing.policies(credentials.session_policy)
        return replace(base, policies=policies, context=_session_keys(base, sealed, now, standing))

    async def _node(self, base: Caller, sealed: Mapping[str, str], region: str, now: datetime) -> Caller:
        """A node with its temporary keys: its own work, and what its role grants of other services."""
        role = None
        if sealed.get("role"):
            role = await self._lookup(STANDING_OF_ROLE, region, (base.account, sealed["role"]), now)
        keys = {**_session_keys(base, sealed, now), "ssm:SourceInstanceARN": base.arn}
        policies = (
            principals.node_policies() if role is None else principals.node_policies(role.identity, role.boundary)
        )
        return replace(base, node_id=base.arn.rsplit("/", 1)[-1], policies=policies, context=keys)

    async def _federated(self, base: Caller, credentials: TemporaryCredentials, region: str, now: datetime) -> Caller:
        """A federated user: what its creator may do, as far as the session policies allow; without any, nothing."""
        sealed = credentials.context or {}
        creator, arns = sealed.get("creator", ""), tuple(orjson.loads(sealed.get("policy_arns", "[]")))
        given = (("session", credentials.session_policy),) if credentials.session_policy else ()
        context = _session_keys(base, sealed, now)
        if not creator:  # root's
            managed = await self._lookup(MANAGED_TEXTS, region, (base.account, arns), now)
            policies = principals.policy_set(EVERYTHING, None, (*managed, *given))
            return replace(base, policies=policies, context=context)
        standing = await self._standing(creator, region, now, arns)
        if standing is None:
            raise ExpiredTokenException("The user of this security token no longer exists")
        policies = principals.policy_set(standing.identity, standing.boundary, (*standing.session, *given))
        return replace(base, policies=policies, context=context)

    async def _standing(
        self, unique_id: str, region: str, now: datetime, session_arns: tuple[str, ...] = ()
    ) -> principals.Standing | None:
        found: principals.Standing | None = await self._lookup(STANDING, region, (unique_id, session_arns), now)
        return found

    async def _lookup(self, entry: Entry, region: str, name: Any, now: datetime) -> Any:
        key = (entry.name, region, name)
        remembered = self._remembered.get(key)
        if remembered is not None and now - remembered[0] < REMEMBER:
            return remembered[1]
        value = await self._run(entry, service_context(self._settings.account, region), name)
        if len(self._remembered) >= REMEMBERED_LIMIT:
            self._remembered.clear()
        self._remembered[key] = (now, value)
        return value


def _session_keys(
    base: Caller, sealed: Mapping[str, str], now: datetime, standing: principals.Standing | None = None
) -> Conditions:
    """What conditions may ask about a session: who, since when, by a second factor, with which tags.

    A tag of the session stands before one of its role (IAM user guide, "Pass session tags in AWS STS").
    """
    of_session: dict[str, str] = orjson.loads(sealed.get("tags", "{}"))
    folded = {key.lower() for key in of_session}
    tags = {key: value for key, value in (standing.tags if standing is not None else ()) if key.lower() not in folded}
    keys: dict[str, Any] = keys_of.of_principal(
        kind=base.kind,
        arn=base.arn,
        account=base.account,
        user_id=base.user_id,
        role_arn=standing.arn if standing is not None and base.kind == "role" else "",
        tags={**tags, **of_session},
        issued_at=_moment(sealed.get("issued_at")),
        mfa_at=_moment(sealed.get("mfa_at")),
        now=now,
    )
    for key, name in (("aws:SourceIdentity", "source_identity"), ("aws:FederatedProvider", "provider")):
        if sealed.get(name):
            keys[key] = sealed[name]
    for key, name in (
        (issue.SIGN_IN, "sign_in"),
        (issue.ORIGIN, "origin"),
        (issue.ACCESS_REQUEST, "access_request"),
    ):
        if name in sealed:
            keys[key] = sealed[name]
    if "transitive" in sealed:
        keys["fleetward:TransitiveTagKeys"] = orjson.loads(sealed["transitive"])
    return keys


def _moment(text: str | None) -> datetime | None:
    """A time as it is sealed into a token: seconds since 1970."""
    return datetime.fromtimestamp(int(text), UTC) if text else None


def nothing(call: Call, request: Any) -> None:
    """Entry that does nothing; `/readyz` runs it to see whether the store answers."""
