"""Retention as data: what is kept how long, and the civil-day arithmetic behind every purge date. Pure."""
