"""Who this node is: from an activation code to a node id and a key, then temporary keys, and a new key when asked.

The RSA key never leaves the vault but to the short-lived signing child. Temporary keys are asked for with it at half
of their life and lie in the vault, and once more as a credentials file for scripts (agent protocol reference, 3).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import ssl
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fleetward.agent import chance, signing
from fleetward.agent.client import (
    BAD_SIGNATURES,
    JSON_TYPE,
    THROTTLES,
    USER_AGENT,
    Endpoint,
    ServiceFault,
    fault_of,
    read_object,
    trust_only,
)
from fleetward.agent.http import HttpFault, Url, request
from fleetward.agent.platforms import Platform
from fleetward.agent.state import StateFolder, read_json, write_json, write_whole
from fleetward.protocol.sigv4 import Credentials

log = logging.getLogger("fleetward.identity")

DEFAULT_REGION = "us-east-1"
REFUSED_SECONDS = 300.0
LONGEST_PAUSE_SECONDS = 60.0
REKEY_AT_MOST_EVERY = timedelta(hours=1)
SHORTEST_LIFE_LEFT = timedelta(seconds=30)

_REFUSALS = frozenset({"AccessDeniedException", "MachineFingerprintDoesNotMatch"})
_UNKNOWN_KEY = BAD_SIGNATURES | {"AccessDeniedException", "UnrecognizedClientException"}
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class IdentityFault(Exception):
    """There is no usable identity, or none can be had; one sentence for whoever set the node up."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The node's name and keys: base64 of DER, PKCS#8 and SubjectPublicKeyInfo. `next_*` is a key on its way in."""

    node_id: str
    endpoint: str
    region: str
    private_key: str
    public_key: str
    created_at: str
    next_private_key: str = ""
    next_public_key: str = ""

    def __repr__(self) -> str:
        return f"Identity({self.node_id!r}, {self.endpoint!r})"


def load(state: StateFolder) -> Identity:
    """The identity of a state folder; IdentityFault when the node has not joined."""
    members = read_json(state.vault / "identity.json")
    try:
        return Identity(**members) if members else _missing(state)
    except TypeError:
        raise IdentityFault(f"{state.vault / 'identity.json'} cannot be read; join again with --force") from None


def save(state: StateFolder, identity: Identity) -> None:
    """Keep an identity, durably."""
    write_json(state.vault / "identity.json", asdict(identity))


def forget(state: StateFolder) -> None:
    """Remove what makes this node this node, for templates and after leaving; trust and journal stay."""
    for name in ("identity.json", "fingerprint.json", "token.json", "pending.json"):
        (state.vault / name).unlink(missing_ok=True)
    state.credentials.unlink(missing_ok=True)


def endpoint_of(state: StateFolder, address: str, region: str) -> Endpoint:
    """Where to call, trusting nothing but the CA of the state folder; IdentityFault when that is not possible."""
    try:
        url = Url.parse(address)
        trust = trust_only(state.ca) if url.scheme == "https" else None
    except ValueError as error:
        raise IdentityFault(str(error)) from None
    except (OSError, ssl.SSLError) as error:
        raise IdentityFault(f"{state.ca} is not a file of certificates: {error}") from None
    return Endpoint(url, trust, region)


async def fetch_ca(address: str, sha256: str) -> str:
    """The certificate (PEM) whose DER has this SHA-256, from the control plane, believed for nothing but that.

    IdentityFault when what the control plane shows is another one.
    """
    wanted = sha256.replace(":", "").strip().lower()
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    try:
        url = Url.parse(address)
        headers = {"Host": url.host_header, "User-Agent": USER_AGENT}
        answer = await request(url, "GET", "/_fleetward/ca.pem", headers, trust=unverified, limit=256 * 1024)
    except (HttpFault, ValueError) as error:
        raise IdentityFault(f"the CA cannot be fetched: {error}") from error
    if answer.status != 200:
        raise IdentityFault(f"{address}/_fleetward/ca.pem cannot be fetched: status {answer.status}")
    for pem in _CERTIFICATE.findall(answer.body.decode("latin-1")):
        try:
            der = ssl.PEM_cert_to_DER_cert(pem)
        except ValueError:
            continue
        if hashlib.sha256(der).hexdigest() == wanted:
            return f"{pem}\n"
    raise IdentityFault(f"the CA of {address} is not the one with SHA-256 {wanted}: somebody else may be answering")


async def register(
    state: StateFolder, platform: Platform, address: str, region: str, activation_id: str, activation_code: str
) -> Identity:
    """Make a key and exchange the activation for a node id; keeps the new identity and answers it.

    A key whose registration got no answer is tried again, so that the control plane can recognise it. An identity
    that is there stays until the new one is safe. IdentityFault when the control plane refuses.
    """
    endpoint = endpoint_of(state, address, region or DEFAULT_REGION)
    pending = read_json(state.vault / "pending.json")
    if pending is None:
        try:
            private_key, public_key = await signing.generate()
        except signing.SigningFault as error:
            raise IdentityFault(str(error)) from error
        pending = {"private_key": private_key, "public_key": public_key}
        write_json(state.vault / "pending.json", pending)
    members = {
        "ActivationCode": activation_code,
        "ActivationId": activation_id,
        "Fingerprint": fingerprint(state, platform),
        "PublicKey": pending["public_key"],
        "PublicKeyType": "Rsa",
    }
    answer = await _register(endpoint, members)
    identity = Identity(
        node_id=str(answer["InstanceId"]),
        endpoint=address,
        region=region or str(answer.get("Region") or DEFAULT_REGION),
        private_key=pending["private_key"],
        public_key=pending["public_key"],
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    save(state, identity)
    for name in ("pending.json", "token.json"):
        (state.vault / name).unlink(missing_ok=True)
    return identity


async def _register(endpoint: Endpoint, members: Mapping[str, Any]) -> dict[str, Any]:
    for attempt in range(6):
        try:
            answer = await _post(endpoint, "AmazonSSM.RegisterManagedInstance", members, {})
            if not answer.get("InstanceId"):
                raise IdentityFault("the control plane answered the registration without a node id")
            return answer
        except ServiceFault as fault:
            if fault.code not in THROTTLES or attempt == 5:
                raise IdentityFault(f"the control plane refused the registration: {fault}") from fault
        except HttpFault as error:
            if attempt == 5:
                raise IdentityFault(str(error)) from error
        await asyncio.sleep(0.1 * 2**attempt)
    raise AssertionError


def fingerprint(state: StateFolder, platform: Platform) -> str:
    """A random name of this installation, kept with hashes of its parts; a new one when the machine id is another."""
    path = state.vault / "fingerprint.json"
    hardware = platform.hardware()
    kept = read_json(path)
    if kept is not None and isinstance(kept.get("fingerprint"), str):
        before = kept.get("hardware") or {}
        if not hardware.get("machine-id") or before.get("machine-id") == hardware["machine-id"]:
            return str(kept["fingerprint"])
    made = str(uuid.uuid4())
    write_json(path, {"fingerprint": made, "hardware": hardware})
    return made


async def leave(state: StateFolder, identity: Identity) -> None:
    """Tell the control plane that this node is no more; ServiceFault or HttpFault when it does not take note."""
    endpoint = endpoint_of(state, identity.endpoint, identity.region)
    await _rsa_call(endpoint, identity, "/_fleetward/leave", "Fleetward.Leave", {})


async def _rsa_call(
    endpoint: Endpoint, identity: Identity, path: str, target: str, members: Mapping[str, Any], *, private_key: str = ""
) -> dict[str, Any]:
    """A call signed with the node's own key; once more when our clock turns out to be wrong."""
    try:
        return await _rsa_call_once(endpoint, identity, path, target, members, private_key)
    except _ClockWasWrong:
        return await _rsa_call_once(endpoint, identity, path, target, members, private_key)


class _ClockWasWrong(Exception):
    """The signature was refused and the control plane's clock is another than ours."""


async def _rsa_call_once(
    endpoint: Endpoint, identity: Identity, path: str, target: str, members: Mapping[str, Any], private_key: str
) -> dict[str, Any]:
    body = json.dumps(members, separators=(",", ":")).encode()
    headers = {"Content-Type": JSON_TYPE, "Host": endpoint.url.host_header, "X-Amz-Target": target}
    signed = await signing.sign(
        identity.node_id,
        private_key or identity.private_key,
        url_path=path,
        headers=headers,
        body=body,
        region=identity.region,
        now=endpoint.now(),
    )
    return await _post(endpoint, target, members, {**headers, **signed}, path=path, body=body)


async def _post(
    endpoint: Endpoint,
    target: str,
    members: Mapping[str, Any],
    headers: Mapping[str, str],
    *,
    path: str = "/",
    body: bytes | None = None,
) -> dict[str, Any]:
    sent = {
        "Content-Type": JSON_TYPE,
        "Host": endpoint.url.host_header,
        "X-Amz-Target": target,
        "User-Agent": USER_AGENT,
        **headers,
    }
    if body is None:
        body = json.dumps(members, separators=(",", ":")).encode()
    answer = await request(endpoint.url, "POST", path, sent, body, trust=endpoint.trust)
    if answer.status < 300:
        return read_object(answer)
    fault = fault_of(answer)
    if "Authorization" in headers and fault.code in BAD_SIGNATURES and endpoint.follow_clock(answer.headers):
        raise _ClockWasWrong
    raise fault


@dataclass(frozen=True, slots=True)
class Token:
    """Temporary keys and the time they are good for."""

    credentials: Credentials
    fetched_at: datetime
    expires_at: datetime

    @property
    def renew_at(self) -> datetime:
        """Half of its life."""
        return self.fetched_at + (self.expires_at - self.fetched_at) / 2


class RoleTokens:
    """The node's temporary keys, renewed at half life; also rotates the node's key when the control plane asks."""

    def __init__(self, state: StateFolder, endpoint: Endpoint, platform: Platform) -> None:
        self._state = state
        self._endpoint = endpoint
        self._platform = platform
        self._identity = load(state)
        self._token = _kept_token(state)
        self._lock = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._rekeyed_at: datetime | None = None

    async def current(self) -> Credentials:
        """Keys that are good now; waits for them, however long the control plane refuses to give any."""
        while not self._is_good():
            async with self._lock:
                if not self._is_good():
                    await self._renew_somehow()
        assert self._token is not None
        return self._token.credentials

    def reject(self, credentials: Credentials) -> None:
        """The control plane no longer takes these keys."""
        if self._token is not None and self._token.credentials == credentials:
            self._token = None
            (self._state.vault / "token.json").unlink(missing_ok=True)

    async def keep_fresh(self) -> None:
        """Renew at half life, for ever."""
        while True:
            await self.current()
            assert self._token is not None
            left = (self._token.renew_at - datetime.now(UTC)).total_seconds()
            await asyncio.sleep(max(1.0, min(left, 3600.0)))
            async with self._lock:
                if self._token is not None and self._token.renew_at <= datetime.now(UTC):
                    await self._renew_somehow(once=True)

    def _is_good(self) -> bool:
        return self._token is not None and self._token.expires_at - SHORTEST_LIFE_LEFT > datetime.now(UTC)

    async def _renew_somehow(self, *, once: bool = False) -> None:
        """Ask until there is an answer; `once`: give up after a refusal, there is still time."""
        failures = 0
        while True:
            try:
                await self._renew()
                return
            except ServiceFault as fault:
                pause = REFUSED_SECONDS if fault.code in _REFUSALS else 10.0 + 2.0**failures
                log.warning("no temporary keys: %s", fault)
            except (HttpFault, signing.SigningFault) as error:
                pause = 0.1 * 2**failures if failures < 5 else 2.0 ** (failures - 4)
                log.warning("no temporary keys: %s", error)
            failures = min(failures + 1, 12)
            longest = REFUSED_SECONDS if pause == REFUSED_SECONDS else LONGEST_PAUSE_SECONDS
            await asyncio.sleep(min(pause, longest) * chance.between(1.0, 1.2))
            if once:
                return

    async def _renew(self) -> None:
        if load(self._state).node_id != self._identity.node_id:
            raise IdentityFault("this folder has joined as another node meanwhile")
        try:
            answer = await self._request(self._identity.private_key)
        except ServiceFault as fault:
            if fault.code not in _UNKNOWN_KEY:
                raise
            answer = await self._with_another_key(fault)
        self._keep(answer)
        if answer.get("UpdateKeyPair") is True:
            await self._rotate()

    async def _request(self, private_key: str) -> dict[str, Any]:
        members = {"Fingerprint": fingerprint(self._state, self._platform)}
        target = "AmazonSSM.RequestManagedInstanceRoleToken"
        return await _rsa_call(self._endpoint, self._identity, "/", target, members, private_key=private_key)

    async def _with_another_key(self, fault: ServiceFault) -> dict[str, Any]:
        """Our key is not known: a rotation was cut off half-way, or a snapshot brought an old key back."""
        if self._identity.next_private_key:
            answer = await self._request(self._identity.next_private_key)
            self._promote()
            return answer
        now = datetime.now(UTC)
        if self._rekeyed_at is not None and now - self._rekeyed_at < REKEY_AT_MOST_EVERY:
            raise fault
        self._rekeyed_at = now
        try:
            await self._rotate_once()
        except ServiceFault:
            self._drop_next()
            raise fault from None
        return await self._request(self._identity.private_key)

    async def _rotate(self) -> None:
        """Replace the node's key; whichever of both the control plane keeps is ours (AP 3.6)."""
        try:
            await self._rotate_once()
        except ServiceFault as fault:
            log.warning("the key was not replaced: %s", fault)
            await self._settle()
        except (HttpFault, signing.SigningFault) as error:
            log.warning("the key may not be replaced yet: %s", error)

    async def _rotate_once(self) -> None:
        private_key, public_key = await signing.generate()
        self._identity = replace(self._identity, next_private_key=private_key, next_public_key=public_key)
        save(self._state, self._identity)
        members = {"NewPublicKey": public_key, "NewPublicKeyType": "Rsa"}
        await _rsa_call(self._endpoint, self._identity, "/", "AmazonSSM.UpdateManagedInstancePublicKey", members)
        self._promote()

    async def _settle(self) -> None:
        try:
            self._keep(await self._request(self._identity.private_key))
            self._drop_next()
        except ServiceFault:
            self._keep(await self._request(self._identity.next_private_key))
            self._promote()

    def _promote(self) -> None:
        self._identity = replace(
            self._identity,
            private_key=self._identity.next_private_key,
            public_key=self._identity.next_public_key,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            next_private_key="",
            next_public_key="",
        )
        save(self._state, self._identity)

    def _drop_next(self) -> None:
        self._identity = replace(self._identity, next_private_key="", next_public_key="")
        save(self._state, self._identity)

    def _keep(self, answer: Mapping[str, Any]) -> None:
        now = datetime.now(UTC)
        try:
            credentials = Credentials(
                str(answer["AccessKeyId"]), str(answer["SecretAccessKey"]), str(answer["SessionToken"])
            )
            # By our own clock: what counts is how long the keys live from now on.
            expires_at = datetime.fromtimestamp(float(answer["TokenExpirationDate"]), UTC) - self._endpoint.clock_offset
        except (KeyError, TypeError, ValueError) as error:
            raise HttpFault(f"the answer with temporary keys cannot be read: {error}") from error
        self._token = Token(credentials, now, expires_at)
        write_json(
            self._state.vault / "token.json",
            {
                "access_key_id": credentials.access_key_id,
                "secret_access_key": credentials.secret_access_key,
                "session_token": credentials.session_token,
                "fetched_at": now.timestamp(),
                "expires_at": expires_at.timestamp(),
            },
        )
        write_whole(self._state.credentials, _credentials_file(self._state, self._identity, credentials).encode())


def _kept_token(state: StateFolder) -> Token | None:
    kept = read_json(state.vault / "token.json")
    if kept is None:
        return None
    try:
        return Token(
            Credentials(kept["access_key_id"], kept["secret_access_key"], kept["session_token"]),
            datetime.fromtimestamp(kept["fetched_at"], UTC),
            datetime.fromtimestamp(kept["expires_at"], UTC),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _credentials_file(state: StateFolder, identity: Identity, credentials: Credentials) -> str:
    """What botocore and the `aws` command read; the last three lines lead them to this control plane."""
    lines = [
        "[default]",
        f"aws_access_key_id = {credentials.access_key_id}",
        f"aws_secret_access_key = {credentials.secret_access_key}",
        f"aws_session_token = {credentials.session_token}",
        f"region = {identity.region}",
        f"endpoint_url = {identity.endpoint}",
    ]
    if identity.endpoint.startswith("https://"):
        lines.append(f"ca_bundle = {state.ca}")
    return "\n".join([*lines, ""])


def _missing(state: StateFolder) -> Identity:
    raise IdentityFault(f"{state.root} holds no identity: run `fleetward join` first")
