"""Every table as the first release has it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the step."""
    op.create_table(
        "activations",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("activation_id", sa.String(length=36), nullable=False),
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("description", sa.String(length=256), nullable=True),
        sa.Column("default_name", sa.String(length=256), nullable=True),
        sa.Column("iam_role", sa.String(length=64), nullable=False),
        sa.Column("registration_limit", sa.Integer(), nullable=False),
        sa.Column("registrations", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("registration_metadata", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "activation_id"),
    )
    with op.batch_alter_table("activations", schema=None) as batch_op:
        batch_op.create_index(
            "activations_created", ["account_id", "region", "created_at", "activation_id"], unique=False
        )

    op.create_table(
        "audit_records",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("event_id", sa.String(length=36), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("hash", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "region", "event_id"),
    )
    with op.batch_alter_table("audit_records", schema=None) as batch_op:
        batch_op.create_index("audit_records_at", ["at"], unique=False)
        batch_op.create_index("audit_records_unsealed", ["account_id", "region", "sequence"], unique=False)

    op.create_table(
        "documents",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("document_type", sa.String(length=64), nullable=False),
        sa.Column("default_version", sa.Integer(), nullable=False),
        sa.Column("latest_version", sa.Integer(), nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "name"),
    )
    op.create_table(
        "documents_reviews",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("reviewer", sa.String(length=50), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "name", "version", "number"),
    )
    op.create_table(
        "documents_shares",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("with_account", sa.String(length=12), nullable=False),
        sa.Column("shared_version", sa.String(length=8), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "name", "with_account"),
    )
    with op.batch_alter_table("documents_shares", schema=None) as batch_op:
        batch_op.create_index("documents_shares_with", ["region", "with_account", "account_id", "name"], unique=False)

    op.create_table(
        "documents_versions",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("version_name", sa.String(length=128), nullable=True),
        sa.Column("display_name", sa.String(length=1024), nullable=True),
        sa.Column("format", sa.String(length=8), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("sha1", sa.String(length=40), nullable=False),
        sa.Column("schema_version", sa.String(length=16), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("platform_types", sa.Text(), nullable=False),
        sa.Column("target_type", sa.String(length=200), nullable=True),
        sa.Column("requires", sa.Text(), nullable=True),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("review_status", sa.String(length=16), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "name", "version"),
    )
    with op.batch_alter_table("documents_versions", schema=None) as batch_op:
        batch_op.create_index("documents_versions_name", ["account_id", "region", "name", "version_name"], unique=True)

    op.create_table(
        "iam_access_keys",
        sa.Column("access_key_id", sa.String(length=32), nullable=False),
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.String(length=8), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("access_key_id"),
    )
    with op.batch_alter_table("iam_access_keys", schema=None) as batch_op:
        batch_op.create_index("iam_access_keys_principal", ["principal"], unique=False)

    op.create_table(
        "iam_epochs",
        sa.Column("principal", sa.String(length=512), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("principal"),
    )
    with op.batch_alter_table("iam_epochs", schema=None) as batch_op:
        batch_op.create_index("iam_epochs_changed", ["changed_at"], unique=False)

    op.create_table(
        "iam_roles",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("path", sa.String(length=512), nullable=False),
        sa.Column("role_id", sa.String(length=32), nullable=False),
        sa.Column("trust", sa.Text(), nullable=False),
        sa.Column("managed_policies", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "name"),
    )
    op.create_table(
        "jobs",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("step", sa.String(length=64), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "job_id"),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index("jobs_due", ["due_at"], unique=False)
        batch_op.create_index("jobs_key", ["account_id", "region", "kind", "key"], unique=False)

    op.create_table(
        "mailbox_messages",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("node_id", sa.String(length=40), nullable=False),
        sa.Column("message_id", sa.String(length=160), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=256), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("first_sent_at", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "node_id", "message_id"),
    )
    with op.batch_alter_table("mailbox_messages", schema=None) as batch_op:
        batch_op.create_index("mailbox_messages_due", ["due_at"], unique=False)
        batch_op.create_index("mailbox_messages_expiry", ["expires_at"], unique=False)

    op.create_table(
        "mailbox_seen_replies",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("node_id", sa.String(length=40), nullable=False),
        sa.Column("message_id", sa.String(length=40), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "node_id", "message_id"),
    )
    with op.batch_alter_table("mailbox_seen_replies", schema=None) as batch_op:
        batch_op.create_index("mailbox_seen_replies_at", ["seen_at"], unique=False)

    op.create_table(
        "nodes",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("node_id", sa.String(length=40), nullable=False),
        sa.Column("activation_id", sa.String(length=36), nullable=False),
        sa.Column("iam_role", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("previous_public_key", sa.LargeBinary(), nullable=True),
        sa.Column("previous_until", sa.BigInteger(), nullable=True),
        sa.Column("rekeyed_by_previous_at", sa.BigInteger(), nullable=True),
        sa.Column("rotation_requested", sa.Boolean(), nullable=False),
        sa.Column("fingerprint", sa.String(length=256), nullable=False),
        sa.Column("fingerprint_state", sa.String(length=16), nullable=False),
        sa.Column("other_fingerprint", sa.String(length=256), nullable=True),
        sa.Column("fingerprint_changed_at", sa.BigInteger(), nullable=True),
        sa.Column("fingerprint_returns", sa.BigInteger(), nullable=False),
        sa.Column("quarantined_at", sa.BigInteger(), nullable=True),
        sa.Column("quarantine_reason", sa.String(length=256), nullable=True),
        sa.Column("platform_type", sa.String(length=16), nullable=True),
        sa.Column("platform_name", sa.String(length=256), nullable=True),
        sa.Column("platform_version", sa.String(length=256), nullable=True),
        sa.Column("agent_name", sa.String(length=256), nullable=True),
        sa.Column("agent_version", sa.String(length=256), nullable=True),
        sa.Column("ip_address", sa.String(length=256), nullable=True),
        sa.Column("computer_name", sa.String(length=256), nullable=True),
        sa.Column("availability_zone", sa.String(length=256), nullable=True),
        sa.Column("availability_zone_id", sa.String(length=256), nullable=True),
        sa.Column("channel", sa.String(length=64), nullable=True),
        sa.Column("agent_version_order", sa.String(length=256), nullable=True),
        sa.Column("platform_version_order", sa.String(length=256), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "region", "node_id"),
    )
    with op.batch_alter_table("nodes", schema=None) as batch_op:
        batch_op.create_index("nodes_activation", ["account_id", "region", "activation_id"], unique=False)
        batch_op.create_index("nodes_key_hash", ["account_id", "region", "key_hash"], unique=False)

    op.create_table(
        "nodes_pings",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("node_id", sa.String(length=40), nullable=False),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=True),
        sa.Column("told", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "region", "node_id"),
    )
    op.create_table(
        "presence_connections",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("node_id", sa.String(length=40), nullable=False),
        sa.Column("server_id", sa.String(length=36), nullable=True),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("connected_at", sa.BigInteger(), nullable=False),
        sa.Column("agent_version", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "node_id"),
    )
    with op.batch_alter_table("presence_connections", schema=None) as batch_op:
        batch_op.create_index("presence_connections_server", ["server_id"], unique=False)

    op.create_table(
        "presence_servers",
        sa.Column("server_id", sa.String(length=36), nullable=False),
        sa.Column("peer_address", sa.String(length=255), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("server_id"),
    )
    op.create_table(
        "run_command_commands",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("command_id", sa.String(length=36), nullable=False),
        sa.Column("document_name", sa.String(length=128), nullable=False),
        sa.Column("document_version", sa.String(length=16), nullable=False),
        sa.Column("platform_types", sa.Text(), nullable=False),
        sa.Column("step_count", sa.Integer(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("deliver_until", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column("resolved", sa.Boolean(), nullable=False),
        sa.Column("cancelled", sa.Boolean(), nullable=False),
        sa.Column("target_count", sa.Integer(), nullable=False),
        sa.Column("released_count", sa.Integer(), nullable=False),
        sa.Column("concurrency_limit", sa.Integer(), nullable=False),
        sa.Column("error_limit", sa.Integer(), nullable=False),
        sa.Column("ended", sa.Text(), nullable=False),
        sa.Column("ended_released", sa.Integer(), nullable=False),
        sa.Column("caller_arn", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "command_id"),
    )
    with op.batch_alter_table("run_command_commands", schema=None) as batch_op:
        batch_op.create_index(
            "run_command_commands_newest", ["account_id", "region", "requested_at", "command_id"], unique=False
        )

    op.create_table(
        "run_command_halts",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("caller_arn", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region"),
    )
    op.create_table(
        "run_command_invocations",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("command_id", sa.String(length=36), nullable=False),
        sa.Column("node_id", sa.String(length=40), nullable=False),
        sa.Column("node_name", sa.String(length=256), nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column("steps", sa.Text(), nullable=False),
        sa.Column("trace", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "region", "command_id", "node_id"),
    )
    with op.batch_alter_table("run_command_invocations", schema=None) as batch_op:
        batch_op.create_index("run_command_invocations_due", ["due_at"], unique=False)
        batch_op.create_index(
            "run_command_invocations_newest",
            ["account_id", "region", "requested_at", "command_id", "node_id"],
            unique=False,
        )
        batch_op.create_index(
            "run_command_invocations_node",
            ["account_id", "region", "node_id", "requested_at", "command_id"],
            unique=False,
        )
        batch_op.create_index(
            "run_command_invocations_waiting",
            ["account_id", "region", "command_id", "released_at", "node_id"],
            unique=False,
        )

    op.create_table(
        "run_command_outputs",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("command_id", sa.String(length=36), nullable=False),
        sa.Column("node_id", sa.String(length=40), nullable=False),
        sa.Column("step", sa.String(length=128), nullable=False),
        sa.Column("stream", sa.String(length=6), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("stored_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "command_id", "node_id", "step", "stream"),
    )
    with op.batch_alter_table("run_command_outputs", schema=None) as batch_op:
        batch_op.create_index("run_command_outputs_at", ["stored_at"], unique=False)

    op.create_table(
        "service_settings",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("setting_id", sa.String(length=128), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "setting_id"),
    )
    op.create_table(
        "tags",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("resource_type", sa.String(length=32), nullable=False),
        sa.Column("resource_id", sa.String(length=2048), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("value", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "resource_type", "resource_id", "key"),
    )
    with op.batch_alter_table("tags", schema=None) as batch_op:
        batch_op.create_index(
            "tags_key_value", ["account_id", "region", "resource_type", "key", "value", "resource_id"], unique=False
        )

    op.create_table(
        "tags_carriers",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("resource_type", sa.String(length=32), nullable=False),
        sa.Column("resource_id", sa.String(length=2048), nullable=False),
        sa.Column("set_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "resource_type", "resource_id"),
    )
    with op.batch_alter_table("tags_carriers", schema=None) as batch_op:
        batch_op.create_index("tags_carriers_set", ["account_id", "region", "set_id"], unique=False)

    op.create_table(
        "tags_sets",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("set_id", sa.String(length=32), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("users", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "set_id"),
    )
    op.create_table(
        "timer_leases",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    """Take the step back."""
    op.drop_table("timer_leases")
    op.drop_table("tags_sets")
    with op.batch_alter_table("tags_carriers", schema=None) as batch_op:
        batch_op.drop_index("tags_carriers_set")

    op.drop_table("tags_carriers")
    with op.batch_alter_table("tags", schema=None) as batch_op:
        batch_op.drop_index("tags_key_value")

    op.drop_table("tags")
    op.drop_table("service_settings")
    with op.batch_alter_table("run_command_outputs", schema=None) as batch_op:
        batch_op.drop_index("run_command_outputs_at")

    op.drop_table("run_command_outputs")
    with op.batch_alter_table("run_command_invocations", schema=None) as batch_op:
        batch_op.drop_index("run_command_invocations_waiting")
        batch_op.drop_index("run_command_invocations_node")
        batch_op.drop_index("run_command_invocations_newest")
        batch_op.drop_index("run_command_invocations_due")

    op.drop_table("run_command_invocations")
    op.drop_table("run_command_halts")
    with op.batch_alter_table("run_command_commands", schema=None) as batch_op:
        batch_op.drop_index("run_command_commands_newest")

    op.drop_table("run_command_commands")
    op.drop_table("presence_servers")
    with op.batch_alter_table("presence_connections", schema=None) as batch_op:
        batch_op.drop_index("presence_connections_server")

    op.drop_table("presence_connections")
    op.drop_table("nodes_pings")
    with op.batch_alter_table("nodes", schema=None) as batch_op:
        batch_op.drop_index("nodes_key_hash")
        batch_op.drop_index("nodes_activation")

    op.drop_table("nodes")
    with op.batch_alter_table("mailbox_seen_replies", schema=None) as batch_op:
        batch_op.drop_index("mailbox_seen_replies_at")

    op.drop_table("mailbox_seen_replies")
    with op.batch_alter_table("mailbox_messages", schema=None) as batch_op:
        batch_op.drop_index("mailbox_messages_expiry")
        batch_op.drop_index("mailbox_messages_due")

    op.drop_table("mailbox_messages")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index("jobs_key")
        batch_op.drop_index("jobs_due")

    op.drop_table("jobs")
    op.drop_table("iam_roles")
    with op.batch_alter_table("iam_epochs", schema=None) as batch_op:
        batch_op.drop_index("iam_epochs_changed")

    op.drop_table("iam_epochs")
    with op.batch_alter_table("iam_access_keys", schema=None) as batch_op:
        batch_op.drop_index("iam_access_keys_principal")

    op.drop_table("iam_access_keys")
    with op.batch_alter_table("documents_versions", schema=None) as batch_op:
        batch_op.drop_index("documents_versions_name")

    op.drop_table("documents_versions")
    with op.batch_alter_table("documents_shares", schema=None) as batch_op:
        batch_op.drop_index("documents_shares_with")

    op.drop_table("documents_shares")
    op.drop_table("documents_reviews")
    op.drop_table("documents")
    with op.batch_alter_table("audit_records", schema=None) as batch_op:
        batch_op.drop_index("audit_records_unsealed")
        batch_op.drop_index("audit_records_at")

    op.drop_table("audit_records")
    with op.batch_alter_table("activations", schema=None) as batch_op:
        batch_op.drop_index("activations_created")

    op.drop_table("activations")
