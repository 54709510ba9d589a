"""Record sealing, wrapped keys, blind indexes, receipts' signatures. Pure: bytes in, bytes out.

The bytes are specified in docs/FORMAT.md and pinned by known-answer vectors in tests/vectors/.
"""
