"""Identities: from the name in a signature to the secret it is checked with and the caller it stands for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fleetward.protocol import sigv4
from fleetward.server import regions
from fleetward.server.call import Call, Caller, Context, service_context
from fleetward.server.errors import ExpiredTokenException, UnrecognizedClientException
from fleetward.server.iam import context as keys_of
from fleetward.server.iam import principals
from fleetward.server.keys import KeyFault, KeyRing, TemporaryCredentials
from fleetward.server.service import Entry
from fleetward.server.settings import Settings

REMEMBER = timedelta(seconds=1)
REMEMBERED_LIMIT = 20_000

FIND_KEY = Entry("identities.access-key", principals.find_access_key, reads=True)
FIND_ROLE = Entry("identities.role", principals.find_role, reads=True)
EPOCHS_SINCE = Entry("identities.epochs", principals.epochs_since, reads=True)
REGIONS = Entry("identities.regions", regions.names, reads=True)

Run = Callable[[Entry, Context, Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller whose signature is still to be checked with `secret`, or with `public_keys` (a node's own)."""

    caller: Caller
    secret: str = ""
    public_keys: tuple[bytes, ...] = ()


class Identities:
    """Looks identities up, with a memory of a second; knows which credentials are revoked and which regions served."""

    def __init__(self, run: Run, keys: KeyRing, settings: Settings, signing_keys: Entry) -> None:
        self._run = run
        self._keys = keys
        self._settings = settings
        self._signing_keys = signing_keys
        self.regions = settings.region
        self._remembered: dict[tuple[str, ...], tuple[datetime, Any]] = {}
        self._known: dict[tuple[str, str, str], tuple[datetime, Identity, TemporaryCredentials | None]] = {}
        self._epochs: dict[str, int] = {}
        self._epochs_read_at = datetime.fromtimestamp(0).astimezone()

    async def refresh(self, now: datetime) -> None:
        """Read the epochs that changed and the regions; called every second and on every wake of their topics."""
        context = service_context(self._settings.account, self._settings.default_region)
        self._epochs.update(await self._run(EPOCHS_SINCE, context, self._epochs_read_at))
        self._epochs_read_at = now
        self.regions = await self._run(REGIONS, context, {})

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
            identity = await self._long_lived(claim, now)
        if len(self._known) >= REMEMBERED_LIMIT:
            self._known.clear()
        self._known[name] = (now, identity, credentials)
        return identity

    async def _long_lived(self, claim: sigv4.Claim, now: datetime) -> Identity:
        key = await self._lookup(FIND_KEY, claim.region, claim.access_key_id, now)
        if key is None or not key.active:
            raise UnrecognizedClientException("The security token included in the request is invalid.")
        root = key.principal == principals.root_arn(key.account)
        caller = Caller(
            kind="root" if root else "user",
            arn=key.principal,
            account=key.account,
            user_id=key.user_id,
            access_key_id=key.access_key_id,
            policies=None if root else principals.policy_set(()),
            context=keys_of.of_principal(
                kind="root" if root else "user", arn=key.principal, account=key.account, user_id=key.user_id
            ),
        )
        return Identity(caller, key.secret_access_key)

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
        if credentials.epoch < self._epochs.get(credentials.principal, 0):
            raise ExpiredTokenException("The security token included in the request was revoked")

    async def _caller(self, credentials: TemporaryCredentials, region: str, now: datetime) -> Caller:
        sealed = credentials.context or {}
        account = sealed.get("account") or credentials.principal.split(":")[4]
        name, role = sealed.get("role", ""), None
        if name:
            role = await self._lookup(FIND_ROLE, region, name, now, account)
        if credentials.kind == "role" and role is None:
            raise ExpiredTokenException("The role of this security token no longer exists")
        caller = Caller(
            kind=credentials.kind,
            arn=credentials.principal,
            account=account,
            user_id=sealed.get("user_id", ""),
            access_key_id=credentials.access_key_id,
            context=keys_of.of_principal(
                kind=credentials.kind,
                arn=credentials.principal,
                account=account,
                user_id=sealed.get("user_id", ""),
                role_arn=role.arn if role is not None and credentials.kind == "role" else "",
                issued_at=_moment(sealed.get("issued_at")),
                mfa_at=_moment(sealed.get("mfa_at")),
                now=now,
            ),
        )
        if credentials.kind == "root":
            return caller
        if credentials.kind == "node":
            node_id = credentials.principal.rsplit("/", 1)[-1]
            keys = {**caller.context, "ssm:SourceInstanceARN": credentials.principal}
            policies = principals.node_policies(role.managed_policies if role is not None else ())
            return replace(caller, node_id=node_id, policies=policies, context=keys)
        managed = role.managed_policies if role is not None else ()
        return replace(caller, policies=principals.policy_set(managed, credentials.session_policy))

    async def _lookup(self, entry: Entry, region: str, name: str, now: datetime, account: str = "") -> Any:
        key = (entry.name, region, name, account)
        remembered = self._remembered.get(key)
        if remembered is not None and now - remembered[0] < REMEMBER:
            return remembered[1]
        value = await self._run(entry, service_context(account or self._settings.account, region), name)
        if len(self._remembered) >= REMEMBERED_LIMIT:
            self._remembered.clear()
        self._remembered[key] = (now, value)
        return value


def _moment(text: str | None) -> datetime | None:
    """A time as it is sealed into a token: seconds since 1970."""
    return datetime.fromtimestamp(int(text), UTC) if text else None


def nothing(call: Call, request: Any) -> None:
    """Entry that does nothing; `/readyz` runs it to see whether the store answers."""
