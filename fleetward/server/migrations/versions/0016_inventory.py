"""inventory."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.create_table(
        "inventory_blobs",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("node_id", sa.String(length=40), nullable=False),
        sa.Column("type_name", sa.String(length=100), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("digests", sa.LargeBinary(), nullable=False),
        sa.Column("folded", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "node_id", "type_name"),
    )
    op.create_table(
        "inventory_catalogue",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("type_name", sa.String(length=100), nullable=False),
        sa.Column("digest", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("nodes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "type_name", "digest"),
    )
    op.create_table(
        "inventory_changes",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("type_name", sa.String(length=100), nullable=False),
        sa.Column("node_id", sa.String(length=40), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "type_name", "node_id"),
    )
    with op.batch_alter_table("inventory_changes", schema=None) as batch_op:
        batch_op.create_index("inventory_changes_at", ["at"], unique=False)

    op.create_table(
        "inventory_custom_types",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("type_name", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=16), nullable=False),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.Column("disabled", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "type_name"),
    )
    op.create_table(
        "inventory_items",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("node_id", sa.String(length=40), nullable=False),
        sa.Column("type_name", sa.String(length=100), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("schema_version", sa.String(length=16), nullable=False),
        sa.Column("capture_time", sa.String(length=20), nullable=False),
        sa.Column("content_hash", sa.String(length=256), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("gone", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "node_id", "type_name"),
    )
    with op.batch_alter_table("inventory_items", schema=None) as batch_op:
        batch_op.create_index(
            "inventory_items_changed", ["account_id", "region", "changed_at", "node_id", "type_name"], unique=False
        )
        batch_op.create_index("inventory_items_type", ["account_id", "region", "type_name", "ordinal"], unique=False)

    op.create_table(
        "inventory_nodes",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("node_id", sa.String(length=40), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("forget_at", sa.BigInteger(), nullable=True),
        sa.Column("facts", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "region", "node_id"),
    )
    with op.batch_alter_table("inventory_nodes", schema=None) as batch_op:
        batch_op.create_index("inventory_nodes_forgotten", ["forget_at"], unique=False)
        batch_op.create_index("inventory_nodes_ordinal", ["account_id", "region", "ordinal"], unique=True)

    op.create_table(
        "inventory_ordinals",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("following", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region"),
    )
    op.execute(PLACES)
    op.execute(LAST_PLACES)


PLACES = """
INSERT INTO inventory_nodes (account_id, region, node_id, ordinal)
SELECT account_id, region, node_id, row_number() OVER (PARTITION BY account_id, region ORDER BY created_at, node_id)
FROM nodes
"""
"""The nodes that have joined before get their places in the bitmaps."""
LAST_PLACES = """
INSERT INTO inventory_ordinals (account_id, region, following)
SELECT account_id, region, max(ordinal) FROM inventory_nodes GROUP BY account_id, region
"""


def downgrade() -> None:
    """Take the step back."""
    op.drop_table("inventory_ordinals")
    with op.batch_alter_table("inventory_nodes", schema=None) as batch_op:
        batch_op.drop_index("inventory_nodes_ordinal")
        batch_op.drop_index("inventory_nodes_forgotten")

    op.drop_table("inventory_nodes")
    with op.batch_alter_table("inventory_items", schema=None) as batch_op:
        batch_op.drop_index("inventory_items_type")
        batch_op.drop_index("inventory_items_changed")

    op.drop_table("inventory_items")
    op.drop_table("inventory_custom_types")
    with op.batch_alter_table("inventory_changes", schema=None) as batch_op:
        batch_op.drop_index("inventory_changes_at")

    op.drop_table("inventory_changes")
    op.drop_table("inventory_catalogue")
    op.drop_table("inventory_blobs")
