"""The first tables of the key database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "keys_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "erasure_ledger",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.CheckConstraint("event IN ('intent', 'keys_destroyed', 'completed')", name="ck_erasure_ledger_event"),
        sa.PrimaryKeyConstraint("seq", name="pk_erasure_ledger"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "key_meta",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_key_meta"),
    )
    op.create_table(
        "root_generations",
        sa.Column("generation", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('creating', 'current', 'retired', 'destroyed')", name="ck_root_generations_state"
        ),
        sa.PrimaryKeyConstraint("generation", name="pk_root_generations"),
    )
    op.create_table(
        "wrapped_keys",
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("root_generation", sa.Integer(), nullable=False),
        sa.Column("blob", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('current', 'retired')", name="ck_wrapped_keys_state"),
        sa.ForeignKeyConstraint(
            ["root_generation"], ["root_generations.generation"], name="fk_wrapped_keys_root_generation"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_wrapped_keys"),
        sa.UniqueConstraint("tenant_id", "purpose", "generation", name="uq_wrapped_keys_tenant_id_purpose_generation"),
    )


def downgrade() -> None:
    """Drops them again, with everything in them."""
    for table in (
        "wrapped_keys",
        "root_generations",
        "key_meta",
        "erasure_ledger",
    ):
        op.drop_table(table)
