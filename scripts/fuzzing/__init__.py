"""Coverage-guided fuzzing of everything that parses what somebody else may have written; run by `scripts/fuzz`."""
