"""timelines of calendars."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    with op.batch_alter_table("documents_versions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("timeline", sa.Text(), nullable=True))


def downgrade() -> None:
    """Take the step back."""
    with op.batch_alter_table("documents_versions", schema=None) as batch_op:
        batch_op.drop_column("timeline")
