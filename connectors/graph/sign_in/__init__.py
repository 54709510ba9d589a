"""Signing in as an application: credentials, where tokens come from, and what Entra's refusals mean."""
