"""How addresses and object IDs are shown to somebody who did not ask to see them whole."""

from __future__ import annotations

import re
from typing import Final

ELLIPSIS: Final = "…"
_SHOWN_OF_ID: Final = 8
_SHORT_LOCAL_PART: Final = 4
_SHORT_PATH: Final = 8
_GUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


def mask_address(address: str) -> str:
    """`jane.doe@example.com` as `j…e@example.com`; a local part under four characters disappears altogether."""
    local, at, domain = address.rpartition("@")
    if not at:
        local, domain = address, ""
    ends = (local[0], local[-1]) if len(local) >= _SHORT_LOCAL_PART else ("", "")
    return f"{ends[0]}{ELLIPSIS}{ends[1]}{at}{domain}"


def mask_object_id(object_id: str) -> str:
    """The first eight characters of an object ID."""
    return f"{object_id[:_SHOWN_OF_ID]}{ELLIPSIS}"


def mask_ref(ref: str) -> str:
    """What stands for a mailbox or a source: an object ID, an address or a path, each masked in its own way."""
    if not ref:
        return ""
    if "/" in ref or " " in ref:  # a path, of whose names none is shown, whatever they hold
        return f"{ref[0]}{ELLIPSIS}{ref[-1]}" if len(ref) >= _SHORT_PATH else ELLIPSIS
    return mask_object_id(ref) if _GUID.fullmatch(ref) else mask_address(ref)
