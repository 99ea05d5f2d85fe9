"""codes of sign-ins that are good once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.create_table(
        "sign_ins_codes",
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("challenge", sa.String(length=64), nullable=False),
        sa.Column("beginning", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("code_hash"),
    )
    with op.batch_alter_table("sign_ins_codes", schema=None) as batch_op:
        batch_op.create_index("sign_ins_codes_expires", ["expires_at"], unique=False)


def downgrade() -> None:
    """Take the step back."""
    with op.batch_alter_table("sign_ins_codes", schema=None) as batch_op:
        batch_op.drop_index("sign_ins_codes_expires")

    op.drop_table("sign_ins_codes")
