"""Backups of data and of keys, and restoring them without what was erased since."""
