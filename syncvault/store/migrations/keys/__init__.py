"""Versions of the key database's schema."""
