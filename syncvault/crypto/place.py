"""Where a record stands: every sealed column has a number, and a list of plaintext columns that are bound to it.

The numbers are part of the format (docs/FORMAT.md): never reuse one, never change one.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final

ID_SIZE: Final = 16
NOTHING: Final = bytes(ID_SIZE)  # stands for NULL in a bound column
LABEL: Final = b"syncvault/record"


class Place(Enum):
    """A sealed column: its number and the bound columns of its row, in order."""

    TENANT_PROFILE = 0x0101, ("name_ix",)
    CREDENTIAL = 0x0201, ()
    SOURCE = 0x0301, ("ref_ix",)
    MAILBOX = 0x0401, ("key_ix", "address_ix")
    FOLDER = 0x0501, ("mailbox_id", "folder_ix")
    CHECKPOINT = 0x0601, ()
    CONTACT = 0x0701, ("mailbox_id", "folder_id", "remote_ix")
    CARD = 0x0702, ("mailbox_id", "folder_id", "remote_ix")
    PHOTO_DETAILS = 0x0801, ()
    PHOTO_CONTENT = 0x0802, ()
    WRAPPED_KEY = 0x0901, ("purpose", "generation")
    MANIFEST = 0x0A01, ("data_generation", "index_generation")

    def __init__(self, number: int, bound: tuple[str, ...]) -> None:
        self.number = number
        self.bound = bound
        self.code = number.to_bytes(4, "big")
        self.size = 76 + ID_SIZE * len(bound)  # of the associated data
        self.complaint = f"{self.name} binds a row ID and {len(bound)} columns of 16 bytes each"

    def associated_data(self, scope: bytes, row_id: bytes, row_version: bytes, bound: Sequence[bytes]) -> bytes:
        """Label 16 | vault ID 16 | tenant ID 16 | number u32 | row ID 16 | row version u64 | bound columns, 16 each.

        `scope` is both IDs. `RecordCipher` makes the same of many rows at once, in `_associated_data`.
        """
        data = b"".join((LABEL, scope, self.code, row_id, row_version, *bound))
        # Each size on its own: a byte moved from one column to the next would leave their sum, and the data, as it was.
        if len(data) != self.size or len(row_id) != ID_SIZE:
            raise ValueError(self.complaint)
        for column in bound:
            if len(column) != ID_SIZE:
                raise ValueError(self.complaint)
        return data
