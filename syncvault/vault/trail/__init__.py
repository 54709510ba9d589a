"""The audit trail: entries that nobody can take back, and their check."""
