"""keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.create_table(
        "kms_aliases",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("key_id", sa.String(length=36), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "name"),
    )
    with op.batch_alter_table("kms_aliases", schema=None) as batch_op:
        batch_op.create_index("kms_aliases_key", ["account_id", "region", "key_id", "name"], unique=False)

    op.create_table(
        "kms_grants",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("grant_id", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=True),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("retiring", sa.String(length=256), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "grant_id"),
    )
    with op.batch_alter_table("kms_grants", schema=None) as batch_op:
        batch_op.create_index("kms_grants_key", ["account_id", "region", "key_id", "grant_id"], unique=False)
        batch_op.create_index("kms_grants_retiring", ["account_id", "region", "retiring", "grant_id"], unique=False)

    op.create_table(
        "kms_keys",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("key_id", sa.String(length=36), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("manager", sa.String(length=8), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("material", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("deletion_at", sa.BigInteger(), nullable=True),
        sa.Column("rotation_days", sa.Integer(), nullable=True),
        sa.Column("rotates_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "region", "key_id"),
    )
    with op.batch_alter_table("kms_keys", schema=None) as batch_op:
        batch_op.create_index("kms_keys_deletion", ["deletion_at"], unique=False)
        batch_op.create_index("kms_keys_rotation", ["rotates_at"], unique=False)

    op.create_table(
        "kms_materials",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("key_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("material_id", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("rotation", sa.String(length=16), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "key_id", "number"),
    )


def downgrade() -> None:
    """Take the step back."""
    op.drop_table("kms_materials")
    with op.batch_alter_table("kms_keys", schema=None) as batch_op:
        batch_op.drop_index("kms_keys_rotation")
        batch_op.drop_index("kms_keys_deletion")

    op.drop_table("kms_keys")
    with op.batch_alter_table("kms_grants", schema=None) as batch_op:
        batch_op.drop_index("kms_grants_retiring")
        batch_op.drop_index("kms_grants_key")

    op.drop_table("kms_grants")
    with op.batch_alter_table("kms_aliases", schema=None) as batch_op:
        batch_op.drop_index("kms_aliases_key")

    op.drop_table("kms_aliases")
