"""cloud providers of documents."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    with op.batch_alter_table("documents_versions") as batch_op:
        batch_op.add_column(sa.Column("cloud_providers", sa.Text(), nullable=True))


def downgrade() -> None:
    """Take the step back."""
    with op.batch_alter_table("documents_versions") as batch_op:
        batch_op.drop_column("cloud_providers")
