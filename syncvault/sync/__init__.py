"""The sync engine: resolve → pull → diff → commit, photos after contacts, removals last and behind a brake."""
