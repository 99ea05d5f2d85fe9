"""Tries: wrong ones make the next wait, longer each time, for address and user; nobody can lock a user out for good.

A try is counted before its password is looked at, so that a thousand at once gain nothing, and given back when it was
right. Four accounts are kept:

    pair      one user from one address: the usual case
    address   all users from one address: somebody who tries many names
    user      one user from all addresses: somebody with many addresses
    device    one user in a browser or program that he has signed in with before, told by a token it keeps

A known device answers for itself alone: whatever others try elsewhere, its user gets in from there. All pauses are
bounded, and an hour without a try forgets everything.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, insert, select, update

from fleetward.server.call import Call
from fleetward.server.keys import token_hash
from fleetward.server.sign_ins.errors import TooManyTries
from fleetward.server.sign_ins.tables import devices, tries

FORGOTTEN_AFTER = timedelta(hours=1)
DEVICE_KEPT = timedelta(days=90)
MOST_DEVICES = 20


@dataclass(frozen=True, slots=True)
class Rule:
    """So many tries are free; then a pause of `first`, doubled with each further one up to `longest`."""

    free: int
    first: timedelta
    longest: timedelta


RULES = {
    "pair": Rule(4, timedelta(seconds=1), timedelta(minutes=15)),
    "address": Rule(20, timedelta(seconds=1), timedelta(minutes=5)),
    "user": Rule(50, timedelta(seconds=1), timedelta(seconds=30)),
    "device": Rule(4, timedelta(seconds=1), timedelta(minutes=1)),
}

Subject = tuple[str, str]
"""Kind of account, and whose it is."""

_THIS = (
    tries.c.account_id == bindparam("account"),
    tries.c.kind == bindparam("of_kind"),
    tries.c.subject == bindparam("of_subject"),
)
FIND = select(tries).where(*_THIS)
ADD = insert(tries)
SET = (
    update(tries)
    .where(*_THIS)
    .values(failures=bindparam("number"), paused_until=bindparam("until"), last_at=bindparam("at"))
)
REMOVE = delete(tries).where(*_THIS)
FORGET = delete(tries).where(tries.c.last_at < bindparam("before"))
DEVICE = select(devices).where(devices.c.token_hash == bindparam("of_hash"))
ADD_DEVICE = insert(devices)
SEEN = update(devices).where(devices.c.token_hash == bindparam("of_hash")).values(seen_at=bindparam("at"))
DEVICES_OF = (
    select(devices.c.token_hash)
    .where(devices.c.account_id == bindparam("account"), devices.c.user_id == bindparam("of_user"))
    .order_by(devices.c.seen_at.desc())
)
REMOVE_DEVICE = delete(devices).where(devices.c.token_hash == bindparam("of_hash"))
FORGET_DEVICES = delete(devices).where(devices.c.seen_at < bindparam("before"))


def pause(rule: Rule, failures: int) -> timedelta:
    """How long nothing more is tried after so many wrong tries."""
    over = failures - rule.free
    return timedelta() if over <= 0 else min(rule.longest, rule.first * 2 ** min(over - 1, 20))


def subjects(call: Call, user_name: str, user_id: str, address: str, device: str) -> tuple[Subject, ...]:
    """The accounts that a try is counted on; the user's id is empty where there is no such user."""
    name, network = user_name.lower(), network_of(address)
    if user_id and is_known(call, user_id, device):
        return (("device", token_hash(device)),)
    return (("pair", _digest(name, network)), of_address(address), ("user", _digest(name)))


def of_address(address: str) -> Subject:
    """The account of an address, whoever is meant."""
    return ("address", _digest(network_of(address)))


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the /64, which one household has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def take(call: Call, wanted: Sequence[Subject]) -> None:
    """Count a try on each account as if it were wrong; TooManyTries, and nothing counted, while one is paused."""
    rows = {subject: call.db.first(FIND, **_key(call, subject)) for subject in wanted}
    paused = [row.paused_until for row in rows.values() if row is not None and row.paused_until is not None]
    latest = max(paused, default=call.now)
    if latest > call.now:
        raise too_many(latest - call.now)
    for subject, row in rows.items():
        forgotten = row is None or row.last_at < call.now - FORGOTTEN_AFTER
        failures = 1 if row is None or forgotten else row.failures + 1
        _write(call, subject, failures, call.now + pause(RULES[subject[0]], failures), is_new=row is None)


def give_back(call: Call, taken: Sequence[Subject]) -> None:
    """The try was not wrong: take it off again."""
    for subject in taken:
        row = call.db.first(FIND, **_key(call, subject))
        if row is not None:
            _write(call, subject, max(0, row.failures - 1), None, is_new=False)


def succeed(call: Call, taken: Sequence[Subject]) -> None:
    """The user is in: forget what was wrong before on this way; the accounts of others stay."""
    for subject in taken:
        if subject[0] in ("pair", "device"):
            call.db.run(REMOVE, _key(call, subject))
    give_back(call, [subject for subject in taken if subject[0] in ("address", "user")])


def too_many(wait: timedelta) -> TooManyTries:
    """The error of a pause, with whole seconds."""
    seconds = max(1, -(-wait // timedelta(seconds=1)))
    return TooManyTries(f"There were too many wrong tries. Try again in {seconds} s.", RetryAfterSeconds=seconds)


def is_known(call: Call, user_id: str, device: str) -> bool:
    """Whether the user has signed in with the device that keeps this token."""
    row = call.db.first(DEVICE, of_hash=token_hash(device)) if device else None
    return row is not None and row.user_id == user_id and row.account_id == call.account


def remember_device(call: Call, user_id: str, device: str) -> None:
    """The device with this token is one of the user's; the longest unseen beyond twenty is forgotten."""
    digest = token_hash(device)
    if not call.db.run(SEEN, {"of_hash": digest, "at": call.now}):
        row = {"token_hash": digest, "account_id": call.account, "user_id": user_id, "seen_at": call.now}
        call.db.run(ADD_DEVICE, row)
    known = call.db.values(DEVICES_OF, account=call.account, of_user=user_id)
    call.db.run(REMOVE_DEVICE, [{"of_hash": each} for each in known[MOST_DEVICES:]])


def forget(call: Call) -> None:
    """Remove what no longer counts."""
    call.db.run(FORGET, {"before": call.now - FORGOTTEN_AFTER})
    call.db.run(FORGET_DEVICES, {"before": call.now - DEVICE_KEPT})


def _write(call: Call, subject: Subject, failures: int, until: datetime | None, *, is_new: bool) -> None:
    paused = until if until is not None and until > call.now else None
    if is_new:
        named = {"account_id": call.account, "kind": subject[0], "subject": subject[1]}
        call.db.run(ADD, {**named, "failures": failures, "paused_until": paused, "last_at": call.now})
        return
    call.db.run(SET, {**_key(call, subject), "number": failures, "until": paused, "at": call.now})


def _key(call: Call, subject: Subject) -> dict[str, str]:
    return {"account": call.account, "of_kind": subject[0], "of_subject": subject[1]}


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
