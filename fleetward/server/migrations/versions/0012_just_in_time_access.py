"""just-in-time access."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.create_table(
        "just_in_time_access_answers",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("access_request_id", sa.String(length=15), nullable=False),
        sa.Column("person", sa.String(length=512), nullable=False),
        sa.Column("arn", sa.Text(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("answer", sa.String(length=8), nullable=False),
        sa.Column("comment", sa.String(length=1024), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "access_request_id", "person"),
    )
    op.create_table(
        "just_in_time_access_requests",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("access_request_id", sa.String(length=15), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=256), nullable=False),
        sa.Column("node_ids", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("requester_arn", sa.Text(), nullable=False),
        sa.Column("requester_id", sa.String(length=256), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("policy_name", sa.String(length=128), nullable=False),
        sa.Column("policy_version", sa.String(length=16), nullable=False),
        sa.Column("levels", sa.Text(), nullable=False),
        sa.Column("access_seconds", sa.Integer(), nullable=False),
        sa.Column("end_sessions", sa.Boolean(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("access_until", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=False),
        sa.Column("comment", sa.String(length=1024), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "access_request_id"),
    )
    with op.batch_alter_table("just_in_time_access_requests", schema=None) as batch_op:
        batch_op.create_index("just_in_time_access_requests_created", ["created_at"], unique=False)
        batch_op.create_index("just_in_time_access_requests_due", ["due_at"], unique=False)
        batch_op.create_index(
            "just_in_time_access_requests_newest",
            ["account_id", "region", "created_at", "access_request_id"],
            unique=False,
        )
        batch_op.create_index(
            "just_in_time_access_requests_person", ["account_id", "region", "person", "status"], unique=False
        )


def downgrade() -> None:
    """Take the step back."""
    with op.batch_alter_table("just_in_time_access_requests", schema=None) as batch_op:
        batch_op.drop_index("just_in_time_access_requests_person")
        batch_op.drop_index("just_in_time_access_requests_newest")
        batch_op.drop_index("just_in_time_access_requests_due")
        batch_op.drop_index("just_in_time_access_requests_created")

    op.drop_table("just_in_time_access_requests")
    op.drop_table("just_in_time_access_answers")
