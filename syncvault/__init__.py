"""syncvault: contacts and photos out of Exchange, kept sealed, let go on time."""

__version__ = "0.1.0"
