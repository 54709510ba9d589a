"""Everything that talks to Exchange. Knows nothing of syncvault: no storage, no command line."""
