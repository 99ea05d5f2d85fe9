"""parameter store."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def _tenant() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=1011), nullable=False),
    )


def _content() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("key_id", sa.String(length=256), nullable=True),
        sa.Column("tier", sa.String(length=20), nullable=False),
        sa.Column("data_type", sa.String(length=128), nullable=False),
        sa.Column("description", sa.String(length=1024), nullable=False),
        sa.Column("allowed_pattern", sa.String(length=1024), nullable=False),
        sa.Column("policies", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
    )


def upgrade() -> None:
    """Apply the step."""
    op.create_table(
        "parameter_store_parameters",
        *_tenant(),
        *_content(),
        sa.Column("folder", sa.String(length=1011), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "region", "name"),
    )
    with op.batch_alter_table("parameter_store_parameters", schema=None) as batch_op:
        batch_op.create_index("parameter_store_parameters_due", ["due_at"], unique=False)
        batch_op.create_index(
            "parameter_store_parameters_folder", ["account_id", "region", "folder", "name"], unique=False
        )
        batch_op.create_index("parameter_store_parameters_tier", ["account_id", "region", "tier"], unique=False)
    op.create_table(
        "parameter_store_versions",
        *_tenant(),
        *_content(),
        sa.PrimaryKeyConstraint("account_id", "region", "name", "version"),
    )
    op.create_table(
        "parameter_store_labels",
        *_tenant(),
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "name", "label"),
    )


def downgrade() -> None:
    """Take the step back."""
    op.drop_table("parameter_store_labels")
    op.drop_table("parameter_store_versions")
    with op.batch_alter_table("parameter_store_parameters", schema=None) as batch_op:
        batch_op.drop_index("parameter_store_parameters_tier")
        batch_op.drop_index("parameter_store_parameters_folder")
        batch_op.drop_index("parameter_store_parameters_due")
    op.drop_table("parameter_store_parameters")
