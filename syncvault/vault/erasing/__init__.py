"""Erasure: its fixed order, what authorises it, the ledger that remembers it, and the receipt that proves it."""
