"""associations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.create_table(
        "state_manager_associations",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("association_id", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("document", sa.String(length=128), nullable=False),
        sa.Column("follows", sa.String(length=8), nullable=False),
        sa.Column("node_id", sa.String(length=40), nullable=True),
        sa.Column("association_name", sa.String(length=128), nullable=True),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("inventory", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("told_status", sa.Text(), nullable=True),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("open_executions", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column("detailed_status", sa.String(length=24), nullable=False),
        sa.Column("last_command_id", sa.String(length=36), nullable=True),
        sa.Column("last_executed_at", sa.BigInteger(), nullable=True),
        sa.Column("last_succeeded_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "region", "association_id"),
    )
    with op.batch_alter_table("state_manager_associations", schema=None) as batch_op:
        batch_op.create_index("state_manager_associations_document", ["account_id", "region", "document"], unique=False)
        batch_op.create_index("state_manager_associations_due", ["due_at"], unique=False)
        batch_op.create_index(
            "state_manager_associations_live", ["account_id", "region", "live", "association_id"], unique=False
        )
        batch_op.create_index(
            "state_manager_associations_node", ["account_id", "region", "node_id", "name"], unique=False
        )

    op.create_table(
        "state_manager_executions",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("association_id", sa.String(length=36), nullable=False),
        sa.Column("execution_id", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document_version", sa.String(length=16), nullable=False),
        sa.Column("cause", sa.String(length=16), nullable=False),
        sa.Column("command_id", sa.String(length=36), nullable=True),
        sa.Column("told", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column("detailed_status", sa.String(length=24), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "region", "association_id", "execution_id"),
    )
    with op.batch_alter_table("state_manager_executions", schema=None) as batch_op:
        batch_op.create_index("state_manager_executions_age", ["created_at"], unique=False)
        batch_op.create_index("state_manager_executions_command", ["account_id", "region", "command_id"], unique=False)
        batch_op.create_index(
            "state_manager_executions_newest",
            ["account_id", "region", "association_id", "created_at", "execution_id"],
            unique=False,
        )

    op.create_table(
        "state_manager_releases",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("node_id", sa.String(length=40), nullable=False),
        sa.Column("association_id", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("execution_id", sa.String(length=36), nullable=False),
        sa.Column("command_id", sa.String(length=36), nullable=True),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.Column("detailed_status", sa.String(length=24), nullable=False),
        sa.Column("released_at", sa.BigInteger(), nullable=False),
        sa.Column("announced_as", sa.String(length=36), nullable=True),
        sa.Column("executed_at", sa.BigInteger(), nullable=True),
        sa.Column("summary", sa.String(length=512), nullable=False),
        sa.Column("error_code", sa.String(length=64), nullable=False),
        sa.Column("output_url", sa.String(length=1024), nullable=False),
        sa.Column("following", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "region", "node_id", "association_id"),
    )
    with op.batch_alter_table("state_manager_releases", schema=None) as batch_op:
        batch_op.create_index(
            "state_manager_releases_association", ["account_id", "region", "association_id", "node_id"], unique=False
        )

    op.create_table(
        "state_manager_versions",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("association_id", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "association_id", "version"),
    )
    with op.batch_alter_table("run_command_commands", schema=None) as batch_op:
        batch_op.add_column(sa.Column("carrier", sa.String(length=16), nullable=True))


def downgrade() -> None:
    """Take the step back."""
    with op.batch_alter_table("run_command_commands", schema=None) as batch_op:
        batch_op.drop_column("carrier")

    op.drop_table("state_manager_versions")
    with op.batch_alter_table("state_manager_releases", schema=None) as batch_op:
        batch_op.drop_index("state_manager_releases_association")

    op.drop_table("state_manager_releases")
    with op.batch_alter_table("state_manager_executions", schema=None) as batch_op:
        batch_op.drop_index("state_manager_executions_newest")
        batch_op.drop_index("state_manager_executions_command")
        batch_op.drop_index("state_manager_executions_age")

    op.drop_table("state_manager_executions")
    with op.batch_alter_table("state_manager_associations", schema=None) as batch_op:
        batch_op.drop_index("state_manager_associations_node")
        batch_op.drop_index("state_manager_associations_live")
        batch_op.drop_index("state_manager_associations_due")
        batch_op.drop_index("state_manager_associations_document")

    op.drop_table("state_manager_associations")
