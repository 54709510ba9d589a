"""Keys: how they are wrapped, found, rotated and retired, and where the root keys are."""
