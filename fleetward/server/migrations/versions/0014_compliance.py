"""compliance."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.create_table(
        "compliance_items",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("node_id", sa.String(length=40), nullable=False),
        sa.Column("compliance_type", sa.String(length=100), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "node_id", "compliance_type", "number"),
    )
    op.create_table(
        "compliance_states",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("node_id", sa.String(length=40), nullable=False),
        sa.Column("compliance_type", sa.String(length=100), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("execution_time", sa.BigInteger(), nullable=False),
        sa.Column("execution_id", sa.String(length=100), nullable=False),
        sa.Column("execution_type", sa.String(length=50), nullable=False),
        sa.Column("content_hash", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "node_id", "compliance_type"),
    )
    with op.batch_alter_table("compliance_states", schema=None) as batch_op:
        batch_op.create_index(
            "compliance_states_counted", ["account_id", "region", "compliance_type", "status", "severity"], unique=False
        )


def downgrade() -> None:
    """Take the step back."""
    with op.batch_alter_table("compliance_states", schema=None) as batch_op:
        batch_op.drop_index("compliance_states_counted")

    op.drop_table("compliance_states")
    op.drop_table("compliance_items")
