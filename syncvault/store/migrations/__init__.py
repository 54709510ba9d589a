"""Alembic migrations, one tree of versions for each database. Run by `syncvault.store.upgrade`, never by hand."""
