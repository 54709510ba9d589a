"""Runs the retention policy: finds what is due by the sealed facts, and has the vault erase it."""
