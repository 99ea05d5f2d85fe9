"""The tables of users, groups, roles and policies. Global: the account leads their keys, there is no region.

What belongs to a user, group or role hangs on its unique id (`AIDA…`, `AGPA…`, `AROA…`), which a new name leaves alone.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, String, Table, Text

from fleetward.server.schema import Json, UtcDateTime, metadata

users = Table(
    "iam_users",
    metadata,
    Column("account_id", String(12), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("folded", String(128), nullable=False),  # in lower case: names that differ in case only are the same
    Column("path", String(512), nullable=False),
    Column("user_id", String(32), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("boundary", Text),  # ARN
    Column("tags", Json, nullable=False),
    Column("signed_in_at", UtcDateTime),
    Index("iam_users_folded", "account_id", "folded", unique=True),
    Index("iam_users_id", "user_id", unique=True),
)

groups = Table(
    "iam_groups",
    metadata,
    Column("account_id", String(12), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("folded", String(128), nullable=False),
    Column("path", String(512), nullable=False),
    Column("group_id", String(32), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("iam_groups_folded", "account_id", "folded", unique=True),
    Index("iam_groups_id", "group_id", unique=True),
)

memberships = Table(
    "iam_memberships",
    metadata,
    Column("group_id", String(32), primary_key=True),
    Column("user_id", String(32), primary_key=True),
    Index("iam_memberships_user", "user_id"),
)

roles = Table(
    "iam_roles",
    metadata,
    Column("account_id", String(12), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("path", String(512), nullable=False, default="/"),
    Column("role_id", String(32), nullable=False),
    Column("trust", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("folded", String(64), nullable=False, server_default=""),
    Column("trusted_ids", Json),  # ARN of a user or role that the trust policy names -> its unique id at that time
    Column("description", Text, nullable=False, server_default=""),
    Column("longest_session", Integer, nullable=False, server_default="3600"),  # seconds
    Column("boundary", Text),
    Column("tags", Json, nullable=False, server_default="{}"),
    Column("used_at", UtcDateTime),
    Column("used_region", String(32)),
    Index("iam_roles_folded", "account_id", "folded", unique=True),
    Index("iam_roles_id", "role_id", unique=True),
)

policies = Table(
    "iam_policies",
    metadata,
    Column("account_id", String(12), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("folded", String(128), nullable=False),
    Column("path", String(512), nullable=False),
    Column("policy_id", String(32), nullable=False),
    Column("description", Text, nullable=False),
    Column("tags", Json, nullable=False),
    Column("default_version", Integer, nullable=False),
    Column("newest_version", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("iam_policies_folded", "account_id", "folded", unique=True),
    Index("iam_policies_id", "policy_id", unique=True),
)

policy_versions = Table(
    "iam_policy_versions",
    metadata,
    Column("policy_id", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("document", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

inline_policies = Table(
    "iam_inline_policies",
    metadata,
    Column("owner_id", String(32), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("document", Text, nullable=False),
)

attachments = Table(
    "iam_attachments",
    metadata,
    Column("owner_id", String(32), primary_key=True),
    Column("policy_arn", String(768), primary_key=True),
    Column("account_id", String(12), nullable=False),
    Index("iam_attachments_policy", "account_id", "policy_arn", "owner_id"),
)

access_keys = Table(
    "iam_access_keys",
    metadata,
    Column("access_key_id", String(32), primary_key=True),
    Column("account_id", String(12), nullable=False),
    Column("principal", Text, nullable=False),  # ARN
    Column("user_id", String(32), nullable=False),
    Column("secret", LargeBinary, nullable=False),  # sealed for access-key/<id>
    Column("status", String(8), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime),
    Column("used_region", String(32)),
    Column("used_service", String(32)),
    Index("iam_access_keys_principal", "principal"),
    Index("iam_access_keys_user", "user_id"),
)

epochs = Table(
    "iam_epochs",
    metadata,
    Column("principal", String(512), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Index("iam_epochs_changed", "changed_at"),
)

login_profiles = Table(
    "iam_login_profiles",
    metadata,
    Column("user_id", String(32), primary_key=True),
    Column("account_id", String(12), nullable=False),
    Column("hash", Text, nullable=False),  # argon2id
    Column("former", Json, nullable=False),  # hashes of passwords before, the newest first
    Column("reset_required", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
)

accounts = Table(
    "iam_accounts",
    metadata,
    Column("account_id", String(12), primary_key=True),
    Column("alias", String(63)),
    Column("password_policy", Json),
    Index("iam_accounts_alias", "alias", unique=True),
)

report_parts = Table(
    "iam_report_parts",
    metadata,
    Column("account_id", String(12), primary_key=True),
    Column("job_id", String(36), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("text", Text, nullable=False),
)

reports = Table(
    "iam_reports",
    metadata,
    Column("account_id", String(12), primary_key=True),
    Column("running", String(36)),  # job that writes the next one
    Column("ready", String(36)),  # job that wrote the one to hand out
    Column("ready_at", UtcDateTime),
)

instance_profiles = Table(
    "iam_instance_profiles",
    metadata,
    Column("account_id", String(12), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("folded", String(128), nullable=False),
    Column("path", String(512), nullable=False),
    Column("profile_id", String(32), nullable=False),
    Column("role_id", String(32)),
    Column("tags", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("iam_instance_profiles_folded", "account_id", "folded", unique=True),
    Index("iam_instance_profiles_role", "role_id"),
)

mfa_devices = Table(
    "iam_mfa_devices",
    metadata,
    Column("account_id", String(12), primary_key=True),
    Column("name", String(226), primary_key=True),
    Column("folded", String(226), nullable=False),
    Column("path", String(512), nullable=False),
    Column("seed", LargeBinary, nullable=False),  # sealed for mfa/<serial number>
    Column("user_id", String(32)),  # null: belongs to nobody yet
    Column("enabled_at", UtcDateTime),
    Column("counter", BigInteger, nullable=False),  # of the last code that was accepted
    Column("failures", Integer, nullable=False),  # wrong codes in a row
    Column("paused_until", UtcDateTime),
    Column("tags", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("iam_mfa_devices_folded", "account_id", "folded", unique=True),
    Index("iam_mfa_devices_user", "user_id"),
)

oidc_providers = Table(
    "iam_oidc_providers",
    metadata,
    Column("account_id", String(12), primary_key=True),
    Column("url", String(255), primary_key=True),  # without https://
    Column("client_ids", Json, nullable=False),
    Column("thumbprints", Json, nullable=False),
    Column("tags", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("keys", Json),  # as the provider publishes them
    Column("keys_at", UtcDateTime),
)

deletion_tasks = Table(
    "iam_deletion_tasks",
    metadata,
    Column("account_id", String(12), primary_key=True),
    Column("task_id", String(255), primary_key=True),
    Column("finished_at", UtcDateTime, nullable=False),
)
