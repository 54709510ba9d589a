"""What every provider that keeps a wrapped root key in its handle refuses: a handle that is not as it was made."""

from __future__ import annotations

import base64

import pytest

from syncvault.errors import RootKeyError
from syncvault.roots.port import Handle, RootKeyProvider


def assert_only_the_whole_wrapped_key_opens(provider: RootKeyProvider, *, cut_every: int) -> None:
    """No byte of it may be flipped, none cut off, none added."""
    handle = provider.create(1)
    blob = base64.b64decode(str(handle["wrapped"]))
    changed = [blob[:at] + bytes([blob[at] ^ 0x80]) + blob[at + 1 :] for at in range(len(blob))]
    changed += [blob[:at] for at in range(0, len(blob), cut_every)] + [blob + b"\0", blob * 2, blob * 400]
    for each in changed:
        assert_refused(provider, {**handle, "wrapped": base64.b64encode(each).decode()})
    assert len(provider.unwrap(handle)) == 32


def assert_refused(provider: RootKeyProvider, handle: Handle) -> None:
    """It says that the handle is damaged, and not that something is wrong elsewhere."""
    with pytest.raises(RootKeyError, match=r"damaged|malformed"):
        provider.unwrap(handle)
