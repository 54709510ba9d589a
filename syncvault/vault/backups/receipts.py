"""The vault's receipts in a backup of its keys: they outlive whom they are about, and so must outlive a lost home.

One file holds them all, a JSON list of their texts. It is covered by the backup's statement; besides, each is signed.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from syncvault.errors import DamagedError, StorageError
from syncvault.vault.backups.archive import ANOTHER, RECEIPTS_FILE, Archive
from syncvault.vault.erasing import outstanding
from syncvault.vault.erasing.outstanding import Kept
from syncvault.vault.layout import Layout, write_durably
from syncvault.vault.vault import Vault


def to_text(vault: Vault) -> bytes:
    """All receipts that the vault keeps; what lies among them and is none of its own stays out.

    Raises:
        StorageError: They cannot be read.
    """
    return orjson.dumps([kept.content.decode("utf-8") for kept in outstanding.listing(vault)]) + b"\n"


def read(vault: Vault, keys: Archive) -> list[Kept]:
    """The receipts in a backup of keys.

    Raises:
        DamagedError: It holds something else, or receipts of another vault.
        StorageError: They cannot be read.
    """
    path = keys.path(RECEIPTS_FILE)
    try:
        texts = orjson.loads(path.read_bytes())
        found = [outstanding.genuine(vault, text.encode("utf-8")) for text in texts] if type(texts) is list else [None]
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, AttributeError):
        found = [None]
    if not all(found):
        raise DamagedError(f"{path} holds something other than receipts of this vault.", advice=ANOTHER)
    return [kept for kept in found if kept is not None]


def put(layout: Layout, receipts: Sequence[Kept]) -> None:
    """Puts receipts in their place in a restored vault; one that lies there already stays, for it may be newer."""
    layout.receipts.mkdir(mode=0o700, exist_ok=True)
    for kept in receipts:
        place = layout.receipts / kept.path.name
        if not place.exists():
            write_durably(place, kept.content)
