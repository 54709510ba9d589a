"""Versions of the data database's schema."""
