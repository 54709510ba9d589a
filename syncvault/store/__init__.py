"""The two databases: schema, engines, migrations, locks, and one repository module per table group.

The store sees sealed bytes, blind indexes, IDs and plaintext that is no personal data; it never seals or
opens. This package imports nothing by itself, so that the command line starts without SQLAlchemy:

    from syncvault.store.engine import Database, Transaction, open_database
    from syncvault.store import contacts, folders, tenants
"""
