"""The tables of sign-ins. Global like IAM: the account leads their keys, there is no region.

Tokens are kept as SHA-256 only; so are the names that somebody tried, which may be mistyped passwords.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, String, Table, Text

from fleetward.server.schema import UtcDateTime, metadata

sign_ins = Table(
    "sign_ins",
    metadata,
    Column("account_id", String(12), primary_key=True),
    Column("sign_in_id", String(32), primary_key=True),
    Column("kind", String(8), nullable=False),  # user, role
    Column("name", String(128), nullable=False),  # of the user, or of the role's session
    Column("arn", Text, nullable=False),  # at the beginning
    Column("principal_id", String(32), nullable=False),  # unique id of the user or role
    Column("provider", String(64), nullable=False),  # empty: signed in with a password
    Column("subject", Text, nullable=False),  # what the provider calls the person, as JSON; empty for users
    Column("password_mark", String(64), nullable=False),  # changes with the user's password
    Column("second_factor_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("address", String(64), nullable=False),  # that used it last
    Column("agent", String(256), nullable=False),
    Index("sign_ins_principal", "account_id", "principal_id", "used_at"),
    Index("sign_ins_expires", "expires_at"),
    Index("sign_ins_used", "used_at"),
)

tokens = Table(
    "sign_ins_tokens",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("account_id", String(12), nullable=False),
    Column("sign_in_id", String(32), nullable=False),
    Column("parent", String(64), nullable=False),  # hash of the token that it replaces
    Column("issued_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime),
    Column("replaced", Boolean, nullable=False),
    Index("sign_ins_tokens_sign_in", "account_id", "sign_in_id", "issued_at"),
)

codes = Table(
    "sign_ins_codes",  # good once: states of OIDC flows that have come back, and codes for command lines
    metadata,
    Column("code_hash", String(64), primary_key=True),
    Column("account_id", String(12), nullable=False),
    Column("challenge", String(64), nullable=False),  # of who may use a code; empty: used
    Column("beginning", Text, nullable=False),  # the sign-in that a code begins, as JSON
    Column("expires_at", UtcDateTime, nullable=False),
    Index("sign_ins_codes_expires", "expires_at"),
)

tries = Table(
    "sign_ins_tries",
    metadata,
    Column("account_id", String(12), primary_key=True),
    Column("kind", String(8), primary_key=True),  # address, pair, user, device
    Column("subject", String(64), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("paused_until", UtcDateTime),
    Column("last_at", UtcDateTime, nullable=False),
    Index("sign_ins_tries_last", "last_at"),
)

devices = Table(
    "sign_ins_devices",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("account_id", String(12), nullable=False),
    Column("user_id", String(32), nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Index("sign_ins_devices_user", "account_id", "user_id", "seen_at"),
    Index("sign_ins_devices_seen", "seen_at"),
)
