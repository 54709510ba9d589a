"""Benchmarks: what syncvault costs beside the least that would do the same, measured side by side."""
