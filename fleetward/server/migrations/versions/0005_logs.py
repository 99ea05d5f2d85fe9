"""logs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.create_table(
        "logs_blocks",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("group_id", sa.String(length=36), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("stream_id", sa.String(length=36), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("ingested_at", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "group_id", "block"),
    )
    with op.batch_alter_table("logs_blocks", schema=None) as batch_op:
        batch_op.create_index(
            "logs_blocks_group_first", ["account_id", "region", "group_id", "first_at", "block"], unique=False
        )
        batch_op.create_index(
            "logs_blocks_group_last", ["account_id", "region", "group_id", "last_at", "block"], unique=False
        )
        batch_op.create_index(
            "logs_blocks_stream_first", ["account_id", "region", "stream_id", "first_at", "block"], unique=False
        )
        batch_op.create_index(
            "logs_blocks_stream_last", ["account_id", "region", "stream_id", "last_at", "block"], unique=False
        )

    op.create_table(
        "logs_groups",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("group_id", sa.String(length=36), nullable=False),
        sa.Column("log_class", sa.String(length=32), nullable=False),
        sa.Column("protected", sa.Boolean(), nullable=False),
        sa.Column("retention_days", sa.Integer(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("last_block", sa.BigInteger(), nullable=False),
        sa.Column("sweep_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "region", "name"),
    )
    with op.batch_alter_table("logs_groups", schema=None) as batch_op:
        batch_op.create_index("logs_groups_sweep", ["sweep_at"], unique=False)

    op.create_table(
        "logs_removals",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("group_id", sa.String(length=36), nullable=False),
        sa.Column("stream_id", sa.String(length=36), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "group_id", "stream_id"),
    )
    with op.batch_alter_table("logs_removals", schema=None) as batch_op:
        batch_op.create_index("logs_removals_since", ["since"], unique=False)

    op.create_table(
        "logs_streams",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("group_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("stream_id", sa.String(length=36), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("first_event_at", sa.BigInteger(), nullable=False),
        sa.Column("last_event_at", sa.BigInteger(), nullable=False),
        sa.Column("last_ingestion_at", sa.BigInteger(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "group_id", "name"),
    )
    with op.batch_alter_table("logs_streams", schema=None) as batch_op:
        batch_op.create_index("logs_streams_id", ["account_id", "region", "stream_id"], unique=False)
        batch_op.create_index(
            "logs_streams_last_event", ["account_id", "region", "group_id", "last_event_at", "name"], unique=False
        )


def downgrade() -> None:
    """Take the step back."""
    with op.batch_alter_table("logs_streams", schema=None) as batch_op:
        batch_op.drop_index("logs_streams_last_event")
        batch_op.drop_index("logs_streams_id")

    op.drop_table("logs_streams")
    with op.batch_alter_table("logs_removals", schema=None) as batch_op:
        batch_op.drop_index("logs_removals_since")

    op.drop_table("logs_removals")
    with op.batch_alter_table("logs_groups", schema=None) as batch_op:
        batch_op.drop_index("logs_groups_sweep")

    op.drop_table("logs_groups")
    with op.batch_alter_table("logs_blocks", schema=None) as batch_op:
        batch_op.drop_index("logs_blocks_stream_last")
        batch_op.drop_index("logs_blocks_stream_first")
        batch_op.drop_index("logs_blocks_group_last")
        batch_op.drop_index("logs_blocks_group_first")

    op.drop_table("logs_blocks")
