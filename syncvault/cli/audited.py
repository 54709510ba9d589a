"""One audit entry for every command that changes or reveals something, whatever becomes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncvault.cli.failures import error_object
from syncvault.cli.terminal import note
from syncvault.errors import SyncvaultError

if TYPE_CHECKING:
    from syncvault.vault.vault import Vault

OK = "ok"


@dataclass
class Entry:
    """What will stand in the log.

    A command that reveals something calls `write` when it has gathered everything and shown nothing yet: what
    cannot be logged is not shown.
    """

    vault: Vault
    verb: str
    tenant_id: bytes | None = None
    is_written: bool = False

    def write(self, outcome: str = OK) -> None:
        """Writes the entry."""
        from syncvault.vault import audit

        audit.record(self.vault, verb=self.verb, tenant_id=self.tenant_id, outcome=outcome)
        self.is_written = True


@contextmanager
def audited(vault: Vault, verb: str, *, tenant_id: bytes | None = None) -> Iterator[Entry]:
    """Logs the command in the block: `ok`, or `failed:` and the code of what ended it.

    Args:
        vault: The vault it works on.
        verb: Noun and verb.
        tenant_id: Whom it is about, when that is known; set it on the entry as soon as it is.
    """
    entry = Entry(vault, verb, tenant_id)
    try:
        yield entry
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt | BrokenPipeError)
        write_if_possible(entry, f"failed:{'interrupted' if interrupted else error_object(error)['code']}")
        raise
    if not entry.is_written:
        entry.write()


def write_if_possible(entry: Entry, outcome: str = OK) -> None:
    """Logs what has happened already and cannot be taken back, such as an erasure or a failure."""
    try:
        entry.write(outcome)
    except SyncvaultError as error:
        note(f"The audit entry could not be written: {error.message}")
