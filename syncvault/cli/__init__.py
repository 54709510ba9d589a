"""The command line: one module per noun; each parses, calls, and prints."""
