"""resource_groups."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.create_table(
        "resource_groups",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("description", sa.String(length=1024), nullable=False),
        sa.Column("owner", sa.String(length=300), nullable=True),
        sa.Column("display_name", sa.String(length=300), nullable=True),
        sa.Column("criticality", sa.Integer(), nullable=True),
        sa.Column("query", sa.Text(), nullable=True),
        sa.Column("configuration", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "name"),
    )
    op.create_table(
        "resource_groups_members",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("resource_type", sa.String(length=32), nullable=False),
        sa.Column("resource_id", sa.String(length=2048), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "name", "resource_type", "resource_id"),
    )
    with op.batch_alter_table("resource_groups_members", schema=None) as batch_op:
        batch_op.create_index(
            "resource_groups_members_resource", ["account_id", "region", "resource_type", "resource_id"], unique=False
        )


def downgrade() -> None:
    """Take the step back."""
    with op.batch_alter_table("resource_groups_members", schema=None) as batch_op:
        batch_op.drop_index("resource_groups_members_resource")

    op.drop_table("resource_groups_members")
    op.drop_table("resource_groups")
