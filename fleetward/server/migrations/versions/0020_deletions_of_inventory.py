"""deletions of inventory."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.create_table(
        "inventory_deletions",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("deletion_id", sa.String(length=36), nullable=False),
        sa.Column("type_name", sa.String(length=100), nullable=False),
        sa.Column("client_token", sa.String(length=36), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("versions", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "deletion_id"),
    )
    with op.batch_alter_table("inventory_deletions", schema=None) as batch_op:
        batch_op.create_index(
            "inventory_deletions_started", ["account_id", "region", "started_at", "deletion_id"], unique=False
        )


def downgrade() -> None:
    """Take the step back."""
    with op.batch_alter_table("inventory_deletions", schema=None) as batch_op:
        batch_op.drop_index("inventory_deletions_started")

    op.drop_table("inventory_deletions")
