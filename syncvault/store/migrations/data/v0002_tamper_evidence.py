"""What shows that rows were taken away or put back: a manifest for each tenant, signatures on the audit trail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "data_0002"
down_revision = "data_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds them; tenants get their manifests when they are next written to."""
    op.create_table(
        "manifests",
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("data_generation", sa.Integer(), nullable=False),
        sa.Column("index_generation", sa.Integer(), nullable=False),
        sa.Column("blob", sa.LargeBinary(), nullable=False),
        sa.Column("data_class", sa.Text(), nullable=False),
        sa.Column("purge_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_manifests_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_manifests"),
    )
    op.add_column("audit", sa.Column("next_key", sa.LargeBinary(length=32), nullable=True))
    op.add_column("audit", sa.Column("signature", sa.LargeBinary(length=64), nullable=True))


def downgrade() -> None:
    """Drops them again; PostgreSQL is to number audit entries again, which goes on behind the last."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SELECT setval(pg_get_serial_sequence('audit', 'seq'), max(seq)) FROM audit")
    op.drop_column("audit", "signature")
    op.drop_column("audit", "next_key")
    op.drop_table("manifests")
