"""The first tables of the data database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "data_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "audit",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("data_class", sa.Text(), nullable=False),
        sa.Column("purge_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_purge_at", "audit", ["purge_at"], unique=False)
    op.create_table(
        "meta",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_meta"),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("data_class", sa.Text(), nullable=False),
        sa.Column("purge_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    op.create_index("ix_runs_purge_at", "runs", ["purge_at"], unique=False)
    op.create_index("ix_runs_tenant_id_started_at", "runs", ["tenant_id", "started_at"], unique=False)
    op.create_table(
        "tenants",
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("name_ix", sa.LargeBinary(length=16), nullable=False),
        sa.Column("profile", sa.LargeBinary(), nullable=False),
        sa.Column("erasure", sa.Text(), nullable=True),
        sa.Column("quarantine", sa.Text(), nullable=True),
        sa.Column("quarantined_at", sa.BigInteger(), nullable=True),
        sa.Column("quarantine_advice", sa.Text(), nullable=True),
        sa.Column("data_class", sa.Text(), nullable=False),
        sa.Column("purge_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('live', 'erasing')", name="ck_tenants_state"),
        sa.PrimaryKeyConstraint("id", name="pk_tenants"),
        sa.UniqueConstraint("name_ix", name="uq_tenants_name_ix"),
    )
    op.create_index("ix_tenants_purge_at", "tenants", ["purge_at"], unique=False)
    op.create_table(
        "credentials",
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("blob", sa.LargeBinary(), nullable=False),
        sa.Column("data_class", sa.Text(), nullable=False),
        sa.Column("purge_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_credentials_tenant_id"),
        sa.PrimaryKeyConstraint("id", name="pk_credentials"),
        sa.UniqueConstraint("tenant_id", name="uq_credentials_tenant_id"),
    )
    op.create_table(
        "mailboxes",
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("key_ix", sa.LargeBinary(length=16), nullable=False),
        sa.Column("address_ix", sa.LargeBinary(length=16), nullable=True),
        sa.Column("blob", sa.LargeBinary(), nullable=False),
        sa.Column("data_class", sa.Text(), nullable=False),
        sa.Column("purge_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_mailboxes_tenant_id"),
        sa.PrimaryKeyConstraint("id", name="pk_mailboxes"),
        sa.UniqueConstraint("tenant_id", "key_ix", name="uq_mailboxes_tenant_id_key_ix"),
    )
    op.create_index("ix_mailboxes_tenant_id_address_ix", "mailboxes", ["tenant_id", "address_ix"], unique=False)
    op.create_table(
        "sources",
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ref_ix", sa.LargeBinary(length=16), nullable=False),
        sa.Column("blob", sa.LargeBinary(), nullable=False),
        sa.Column("data_class", sa.Text(), nullable=False),
        sa.Column("purge_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_sources_tenant_id"),
        sa.PrimaryKeyConstraint("id", name="pk_sources"),
        sa.UniqueConstraint("tenant_id", "kind", "ref_ix", name="uq_sources_tenant_id_kind_ref_ix"),
    )
    op.create_table(
        "contacts",
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("mailbox_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("folder_id", sa.LargeBinary(length=16), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("remote_ix", sa.LargeBinary(length=16), nullable=False),
        sa.Column("blob", sa.LargeBinary(), nullable=False),
        sa.Column("photo_due_at", sa.BigInteger(), nullable=True),
        sa.Column("data_class", sa.Text(), nullable=False),
        sa.Column("purge_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailboxes.id"], name="fk_contacts_mailbox_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_contacts"),
        sa.UniqueConstraint("mailbox_id", "remote_ix", name="uq_contacts_mailbox_id_remote_ix"),
    )
    op.create_index("ix_contacts_folder_id", "contacts", ["folder_id"], unique=False)
    op.create_index(
        "ix_contacts_tenant_id_photo_due_at_id", "contacts", ["tenant_id", "photo_due_at", "id"], unique=False
    )
    op.create_table(
        "folders",
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("mailbox_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("folder_ix", sa.LargeBinary(length=16), nullable=False),
        sa.Column("blob", sa.LargeBinary(), nullable=False),
        sa.Column("gone", sa.Integer(), server_default="0", nullable=False),
        sa.Column("data_class", sa.Text(), nullable=False),
        sa.Column("purge_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailboxes.id"], name="fk_folders_mailbox_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_folders"),
        sa.UniqueConstraint("mailbox_id", "folder_ix", name="uq_folders_mailbox_id_folder_ix"),
    )
    op.create_index("ix_folders_tenant_id", "folders", ["tenant_id"], unique=False)
    op.create_table(
        "memberships",
        sa.Column("source_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("mailbox_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("leaving", sa.Integer(), server_default="0", nullable=False),
        sa.Column("data_class", sa.Text(), nullable=False),
        sa.Column("purge_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailboxes.id"], name="fk_memberships_mailbox_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_memberships_source_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("source_id", "mailbox_id", name="pk_memberships"),
    )
    op.create_index("ix_memberships_mailbox_id", "memberships", ["mailbox_id"], unique=False)
    op.create_index("ix_memberships_tenant_id", "memberships", ["tenant_id"], unique=False)
    op.create_table(
        "checkpoints",
        sa.Column("folder_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("blob", sa.LargeBinary(), nullable=False),
        sa.Column("data_class", sa.Text(), nullable=False),
        sa.Column("purge_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["folder_id"], ["folders.id"], name="fk_checkpoints_folder_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("folder_id", name="pk_checkpoints"),
    )
    op.create_index("ix_checkpoints_tenant_id", "checkpoints", ["tenant_id"], unique=False)
    op.create_table(
        "pending_removals",
        sa.Column("contact_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("folder_id", sa.LargeBinary(length=16), nullable=True),
        sa.Column("data_class", sa.Text(), nullable=False),
        sa.Column("purge_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.id"], name="fk_pending_removals_contact_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("contact_id", name="pk_pending_removals"),
    )
    op.create_index("ix_pending_removals_tenant_id", "pending_removals", ["tenant_id"], unique=False)
    op.create_table(
        "photos",
        sa.Column("contact_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("details", sa.LargeBinary(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("data_class", sa.Text(), nullable=False),
        sa.Column("purge_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["contact_id"], ["contacts.id"], name="fk_photos_contact_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("contact_id", name="pk_photos"),
    )
    op.create_index("ix_photos_tenant_id", "photos", ["tenant_id"], unique=False)
    op.create_table(
        "seen",
        sa.Column("folder_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("remote_ix", sa.LargeBinary(length=16), nullable=False),
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("data_class", sa.Text(), nullable=False),
        sa.Column("purge_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["folder_id"], ["folders.id"], name="fk_seen_folder_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("folder_id", "remote_ix", name="pk_seen"),
    )


def downgrade() -> None:
    """Drops them again, with everything in them."""
    for table in (
        "seen",
        "photos",
        "pending_removals",
        "checkpoints",
        "memberships",
        "folders",
        "contacts",
        "sources",
        "mailboxes",
        "credentials",
        "tenants",
        "runs",
        "meta",
        "audit",
    ):
        op.drop_table(table)
