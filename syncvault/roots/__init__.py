"""Root-key providers: where the 32 bytes come from that wrap every other key, one module each."""
