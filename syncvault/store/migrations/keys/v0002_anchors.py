"""What the data may not fall behind: anchors of manifests and of the audit trail, and a ledger that is signed."""

from __future__ import annotations

from contextlib import AbstractContextManager

import sqlalchemy as sa
from alembic import op
from alembic.operations import BatchOperations

revision = "keys_0002"
down_revision = "keys_0001"
branch_labels = None
depends_on = None

_EVENTS = "event IN ('intent', 'keys_destroyed', 'completed', 'rows_erased')"
_FIRST_EVENTS = "event IN ('intent', 'keys_destroyed', 'completed')"


def upgrade() -> None:
    """Adds them."""
    op.create_table(
        "anchors",
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_anchors"),
    )
    op.create_table(
        "audit_segments",
        sa.Column("first_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("before", sa.LargeBinary(length=64), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_signature", sa.LargeBinary(length=64), nullable=False),
        sa.PrimaryKeyConstraint("first_seq", name="pk_audit_segments"),
    )
    op.add_column("root_generations", sa.Column("outstanding", sa.Text(), nullable=True))
    op.add_column("wrapped_keys", sa.Column("retired_at", sa.BigInteger(), nullable=True))
    with _ledger() as table:
        table.add_column(sa.Column("signature", sa.LargeBinary(length=64), nullable=True))
        table.drop_constraint("ck_erasure_ledger_event", type_="check")
        table.create_check_constraint("ck_erasure_ledger_event", _EVENTS)


def downgrade() -> None:
    """Drops them again; entries about single rows and the audit key, which nobody would know, go with them."""
    op.execute("DELETE FROM erasure_ledger WHERE event = 'rows_erased'")
    op.execute("DELETE FROM wrapped_keys WHERE purpose = 'audit'")
    with _ledger() as table:
        table.drop_constraint("ck_erasure_ledger_event", type_="check")
        table.create_check_constraint("ck_erasure_ledger_event", _FIRST_EVENTS)
        table.drop_column("signature")
    op.drop_column("wrapped_keys", "retired_at")
    op.drop_column("root_generations", "outstanding")
    op.drop_table("audit_segments")
    op.drop_table("anchors")


def _ledger() -> AbstractContextManager[BatchOperations]:
    return op.batch_alter_table("erasure_ledger", table_kwargs={"sqlite_autoincrement": True})
