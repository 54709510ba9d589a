"""Requests and answers: JSON over HTTPS, alone or in batches, at a pace that Graph bears."""
