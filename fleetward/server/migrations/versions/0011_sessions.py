"""sessions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.create_table(
        "session_manager_sessions",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("session_id", sa.String(length=96), nullable=False),
        sa.Column("node_id", sa.String(length=40), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("access_type", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=256), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("details", sa.String(length=1024), nullable=False),
        sa.Column("document_name", sa.String(length=128), nullable=False),
        sa.Column("document_named", sa.String(length=128), nullable=False),
        sa.Column("session_type", sa.String(length=32), nullable=False),
        sa.Column("recorded", sa.Boolean(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("target_host", sa.String(length=255), nullable=False),
        sa.Column("target_port", sa.String(length=5), nullable=False),
        sa.Column("owner_arn", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.String(length=256), nullable=False),
        sa.Column("access_key_id", sa.String(length=32), nullable=False),
        sa.Column("session_token", sa.LargeBinary(), nullable=True),
        sa.Column("source_ip", sa.String(length=45), nullable=False),
        sa.Column("client_token", sa.String(length=64), nullable=True),
        sa.Column("client_server", sa.String(length=36), nullable=True),
        sa.Column("client_epoch", sa.Integer(), nullable=False),
        sa.Column("client_left_at", sa.BigInteger(), nullable=True),
        sa.Column("node_token", sa.String(length=64), nullable=True),
        sa.Column("node_server", sa.String(length=36), nullable=True),
        sa.Column("node_epoch", sa.Integer(), nullable=False),
        sa.Column("node_left_at", sa.BigInteger(), nullable=True),
        sa.Column("idle_minutes", sa.Integer(), nullable=True),
        sa.Column("max_duration", sa.String(length=4), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("active_at", sa.BigInteger(), nullable=False),
        sa.Column("bytes_in", sa.BigInteger(), nullable=False),
        sa.Column("bytes_out", sa.BigInteger(), nullable=False),
        sa.Column("ended_by", sa.Text(), nullable=False),
        sa.Column("s3_url", sa.Text(), nullable=False),
        sa.Column("log_url", sa.Text(), nullable=False),
        sa.Column("recording_key", sa.String(length=256), nullable=False),
        sa.Column("recording_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "session_id"),
    )
    with op.batch_alter_table("session_manager_sessions") as batch_op:
        batch_op.create_index("session_manager_sessions_due", ["due_at"], unique=False)
        batch_op.create_index("session_manager_sessions_ended", ["ended_at"], unique=False)
        batch_op.create_index(
            "session_manager_sessions_newest", ["account_id", "region", "started_at", "session_id"], unique=False
        )
        batch_op.create_index(
            "session_manager_sessions_node", ["account_id", "region", "node_id", "started_at"], unique=False
        )


def downgrade() -> None:
    """Take the step back."""
    op.drop_table("session_manager_sessions")
