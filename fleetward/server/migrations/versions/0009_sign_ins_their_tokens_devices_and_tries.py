"""sign-ins, their tokens, devices and tries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.create_table(
        "sign_ins",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("sign_in_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("arn", sa.Text(), nullable=False),
        sa.Column("principal_id", sa.String(length=32), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("password_mark", sa.String(length=64), nullable=False),
        sa.Column("second_factor_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("agent", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "sign_in_id"),
    )
    with op.batch_alter_table("sign_ins", schema=None) as batch_op:
        batch_op.create_index("sign_ins_expires", ["expires_at"], unique=False)
        batch_op.create_index("sign_ins_principal", ["account_id", "principal_id", "used_at"], unique=False)
        batch_op.create_index("sign_ins_used", ["used_at"], unique=False)

    op.create_table(
        "sign_ins_devices",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    with op.batch_alter_table("sign_ins_devices", schema=None) as batch_op:
        batch_op.create_index("sign_ins_devices_seen", ["seen_at"], unique=False)
        batch_op.create_index("sign_ins_devices_user", ["account_id", "user_id", "seen_at"], unique=False)

    op.create_table(
        "sign_ins_tokens",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("sign_in_id", sa.String(length=32), nullable=False),
        sa.Column("parent", sa.String(length=64), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("replaced", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    with op.batch_alter_table("sign_ins_tokens", schema=None) as batch_op:
        batch_op.create_index("sign_ins_tokens_sign_in", ["account_id", "sign_in_id", "issued_at"], unique=False)

    op.create_table(
        "sign_ins_tries",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("paused_until", sa.BigInteger(), nullable=True),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "kind", "subject"),
    )
    with op.batch_alter_table("sign_ins_tries", schema=None) as batch_op:
        batch_op.create_index("sign_ins_tries_last", ["last_at"], unique=False)


def downgrade() -> None:
    """Take the step back."""
    with op.batch_alter_table("sign_ins_tries", schema=None) as batch_op:
        batch_op.drop_index("sign_ins_tries_last")

    op.drop_table("sign_ins_tries")
    with op.batch_alter_table("sign_ins_tokens", schema=None) as batch_op:
        batch_op.drop_index("sign_ins_tokens_sign_in")

    op.drop_table("sign_ins_tokens")
    with op.batch_alter_table("sign_ins_devices", schema=None) as batch_op:
        batch_op.drop_index("sign_ins_devices_user")
        batch_op.drop_index("sign_ins_devices_seen")

    op.drop_table("sign_ins_devices")
    with op.batch_alter_table("sign_ins", schema=None) as batch_op:
        batch_op.drop_index("sign_ins_used")
        batch_op.drop_index("sign_ins_principal")
        batch_op.drop_index("sign_ins_expires")

    op.drop_table("sign_ins")
