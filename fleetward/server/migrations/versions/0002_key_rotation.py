"""key rotation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.create_table(
        "key_rotation_rings",
        sa.Column("server_id", sa.String(length=36), nullable=False),
        sa.Column("sealing", sa.Integer(), nullable=False),
        sa.Column("checks", sa.Text(), nullable=False),
        sa.Column("told_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("server_id"),
    )
    op.create_table(
        "key_rotation_states",
        sa.Column("name", sa.String(length=8), nullable=False),
        sa.Column("sealing", sa.Integer(), nullable=False),
        sa.Column("check_value", sa.String(length=16), nullable=False),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.Column("rotated_at", sa.BigInteger(), nullable=False),
        sa.Column("rewrapped_at", sa.BigInteger(), nullable=True),
        sa.Column("retire_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    """Take the step back."""
    op.drop_table("key_rotation_states")
    op.drop_table("key_rotation_rings")
