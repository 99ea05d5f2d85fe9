"""iam management."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.create_table(
        "iam_accounts",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("alias", sa.String(length=63), nullable=True),
        sa.Column("password_policy", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("account_id"),
    )
    with op.batch_alter_table("iam_accounts", schema=None) as batch_op:
        batch_op.create_index("iam_accounts_alias", ["alias"], unique=True)

    op.create_table(
        "iam_attachments",
        sa.Column("owner_id", sa.String(length=32), nullable=False),
        sa.Column("policy_arn", sa.String(length=768), nullable=False),
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "policy_arn"),
    )
    with op.batch_alter_table("iam_attachments", schema=None) as batch_op:
        batch_op.create_index("iam_attachments_policy", ["account_id", "policy_arn", "owner_id"], unique=False)

    op.create_table(
        "iam_deletion_tasks",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("task_id", sa.String(length=255), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "task_id"),
    )
    op.create_table(
        "iam_groups",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("folded", sa.String(length=128), nullable=False),
        sa.Column("path", sa.String(length=512), nullable=False),
        sa.Column("group_id", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "name"),
    )
    with op.batch_alter_table("iam_groups", schema=None) as batch_op:
        batch_op.create_index("iam_groups_folded", ["account_id", "folded"], unique=True)
        batch_op.create_index("iam_groups_id", ["group_id"], unique=True)

    op.create_table(
        "iam_inline_policies",
        sa.Column("owner_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "name"),
    )
    op.create_table(
        "iam_instance_profiles",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("folded", sa.String(length=128), nullable=False),
        sa.Column("path", sa.String(length=512), nullable=False),
        sa.Column("profile_id", sa.String(length=32), nullable=False),
        sa.Column("role_id", sa.String(length=32), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "name"),
    )
    with op.batch_alter_table("iam_instance_profiles", schema=None) as batch_op:
        batch_op.create_index("iam_instance_profiles_folded", ["account_id", "folded"], unique=True)
        batch_op.create_index("iam_instance_profiles_role", ["role_id"], unique=False)

    op.create_table(
        "iam_login_profiles",
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("former", sa.Text(), nullable=False),
        sa.Column("reset_required", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id"),
    )
    op.create_table(
        "iam_memberships",
        sa.Column("group_id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("group_id", "user_id"),
    )
    with op.batch_alter_table("iam_memberships", schema=None) as batch_op:
        batch_op.create_index("iam_memberships_user", ["user_id"], unique=False)

    op.create_table(
        "iam_mfa_devices",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=226), nullable=False),
        sa.Column("folded", sa.String(length=226), nullable=False),
        sa.Column("path", sa.String(length=512), nullable=False),
        sa.Column("seed", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=True),
        sa.Column("enabled_at", sa.BigInteger(), nullable=True),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("paused_until", sa.BigInteger(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "name"),
    )
    with op.batch_alter_table("iam_mfa_devices", schema=None) as batch_op:
        batch_op.create_index("iam_mfa_devices_folded", ["account_id", "folded"], unique=True)
        batch_op.create_index("iam_mfa_devices_user", ["user_id"], unique=False)

    op.create_table(
        "iam_oidc_providers",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("url", sa.String(length=255), nullable=False),
        sa.Column("client_ids", sa.Text(), nullable=False),
        sa.Column("thumbprints", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("keys", sa.Text(), nullable=True),
        sa.Column("keys_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "url"),
    )
    op.create_table(
        "iam_policies",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("folded", sa.String(length=128), nullable=False),
        sa.Column("path", sa.String(length=512), nullable=False),
        sa.Column("policy_id", sa.String(length=32), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("default_version", sa.Integer(), nullable=False),
        sa.Column("newest_version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "name"),
    )
    with op.batch_alter_table("iam_policies", schema=None) as batch_op:
        batch_op.create_index("iam_policies_folded", ["account_id", "folded"], unique=True)
        batch_op.create_index("iam_policies_id", ["policy_id"], unique=True)

    op.create_table(
        "iam_policy_versions",
        sa.Column("policy_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("policy_id", "number"),
    )
    op.create_table(
        "iam_report_parts",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "job_id", "number"),
    )
    op.create_table(
        "iam_reports",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("running", sa.String(length=36), nullable=True),
        sa.Column("ready", sa.String(length=36), nullable=True),
        sa.Column("ready_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("account_id"),
    )
    op.create_table(
        "iam_users",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("folded", sa.String(length=128), nullable=False),
        sa.Column("path", sa.String(length=512), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("boundary", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("signed_in_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "name"),
    )
    with op.batch_alter_table("iam_users", schema=None) as batch_op:
        batch_op.create_index("iam_users_folded", ["account_id", "folded"], unique=True)
        batch_op.create_index("iam_users_id", ["user_id"], unique=True)

    with op.batch_alter_table("iam_access_keys", schema=None) as batch_op:
        batch_op.add_column(sa.Column("used_at", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("used_region", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("used_service", sa.String(length=32), nullable=True))
        batch_op.create_index("iam_access_keys_user", ["user_id"], unique=False)

    with op.batch_alter_table("iam_roles", schema=None) as batch_op:
        batch_op.add_column(sa.Column("folded", sa.String(length=64), server_default="", nullable=False))
        batch_op.add_column(sa.Column("trusted_ids", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("description", sa.Text(), server_default="", nullable=False))
        batch_op.add_column(sa.Column("longest_session", sa.Integer(), server_default="3600", nullable=False))
        batch_op.add_column(sa.Column("boundary", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("tags", sa.Text(), server_default="{}", nullable=False))
        batch_op.add_column(sa.Column("used_at", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("used_region", sa.String(length=32), nullable=True))

    _carry_roles_over(op.get_bind())
    with op.batch_alter_table("iam_roles", schema=None) as batch_op:
        batch_op.create_index("iam_roles_folded", ["account_id", "folded"], unique=True)
        batch_op.create_index("iam_roles_id", ["role_id"], unique=True)
        batch_op.drop_column("managed_policies")


def _carry_roles_over(connection: sa.Connection) -> None:
    """Policies that roles named in a column of their own become attachments."""
    names = ("account_id", "name", "folded", "role_id", "managed_policies")
    roles = sa.table("iam_roles", *(sa.column(name) for name in names))
    columns = ("owner_id", "policy_arn", "account_id")
    attachments = sa.table("iam_attachments", *(sa.column(name) for name in columns))
    connection.execute(sa.update(roles).values(folded=sa.func.lower(roles.c.name)))
    for row in connection.execute(sa.select(roles)).all():
        for policy in json.loads(row.managed_policies):
            arn = f"arn:aws:iam::aws:policy/{policy}"
            values = {"owner_id": row.role_id, "policy_arn": arn, "account_id": row.account_id}
            connection.execute(sa.insert(attachments).values(**values))


def downgrade() -> None:
    """Take the step back."""
    with op.batch_alter_table("iam_roles", schema=None) as batch_op:
        batch_op.add_column(sa.Column("managed_policies", sa.TEXT(), server_default="[]", nullable=False))
        batch_op.drop_index("iam_roles_id")
        batch_op.drop_index("iam_roles_folded")
        batch_op.drop_column("used_region")
        batch_op.drop_column("used_at")
        batch_op.drop_column("tags")
        batch_op.drop_column("boundary")
        batch_op.drop_column("longest_session")
        batch_op.drop_column("description")
        batch_op.drop_column("trusted_ids")
        batch_op.drop_column("folded")

    with op.batch_alter_table("iam_access_keys", schema=None) as batch_op:
        batch_op.drop_index("iam_access_keys_user")
        batch_op.drop_column("used_service")
        batch_op.drop_column("used_region")
        batch_op.drop_column("used_at")

    with op.batch_alter_table("iam_users", schema=None) as batch_op:
        batch_op.drop_index("iam_users_id")
        batch_op.drop_index("iam_users_folded")

    op.drop_table("iam_users")
    op.drop_table("iam_reports")
    op.drop_table("iam_report_parts")
    op.drop_table("iam_policy_versions")
    with op.batch_alter_table("iam_policies", schema=None) as batch_op:
        batch_op.drop_index("iam_policies_id")
        batch_op.drop_index("iam_policies_folded")

    op.drop_table("iam_policies")
    op.drop_table("iam_oidc_providers")
    with op.batch_alter_table("iam_mfa_devices", schema=None) as batch_op:
        batch_op.drop_index("iam_mfa_devices_user")
        batch_op.drop_index("iam_mfa_devices_folded")

    op.drop_table("iam_mfa_devices")
    with op.batch_alter_table("iam_memberships", schema=None) as batch_op:
        batch_op.drop_index("iam_memberships_user")

    op.drop_table("iam_memberships")
    op.drop_table("iam_login_profiles")
    with op.batch_alter_table("iam_instance_profiles", schema=None) as batch_op:
        batch_op.drop_index("iam_instance_profiles_role")
        batch_op.drop_index("iam_instance_profiles_folded")

    op.drop_table("iam_instance_profiles")
    op.drop_table("iam_inline_policies")
    with op.batch_alter_table("iam_groups", schema=None) as batch_op:
        batch_op.drop_index("iam_groups_id")
        batch_op.drop_index("iam_groups_folded")

    op.drop_table("iam_groups")
    op.drop_table("iam_deletion_tasks")
    with op.batch_alter_table("iam_attachments", schema=None) as batch_op:
        batch_op.drop_index("iam_attachments_policy")

    op.drop_table("iam_attachments")
    with op.batch_alter_table("iam_accounts", schema=None) as batch_op:
        batch_op.drop_index("iam_accounts_alias")

    op.drop_table("iam_accounts")
