"""One audit entry for every command that changes or reveals something, whatever becomes of it.

A command whose entry cannot be written does not run. Erasing alone does, and says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncvault.cli.failures import error_object
from syncvault.cli.terminal import note
from syncvault.errors import Exit, SyncvaultError

if TYPE_CHECKING:
    from syncvault.vault.vault import Vault

OK = "ok"


class UnloggedError(SyncvaultError):
    """There is no audit entry about the command."""

    code = "unlogged"
    default_advice = "Run `syncvault doctor`, and `syncvault audit verify`."


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
        from syncvault.vault.trail import audit

        audit.record(self.vault, verb=self.verb, tenant_id=self.tenant_id, outcome=outcome)
        self.is_written = True


def require_writable(vault: Vault, verb: str) -> None:
    """Refuses to go on where no audit entry could be written.

    Raises:
        UnloggedError: The key store or the data database refuses an entry.
    """
    from syncvault.vault.trail import audit

    try:
        audit.require_writable(vault, verb=verb)
    except SyncvaultError as error:
        if error.exit_code != Exit.FAILED:  # a busy vault, a root key out of reach: nothing is wrong with the trail
            raise
        raise UnloggedError(f"Nothing was done, because no audit entry can be written: {error.message}") from error


@contextmanager
def audited(
    vault: Vault, verb: str, *, tenant_id: bytes | None = None, may_go_unlogged: bool = False
) -> Iterator[Entry]:
    """Logs the command in the block: `ok`, or `failed:` and the code of what ended it.

    Args:
        vault: The vault it works on.
        verb: Noun and verb.
        tenant_id: Whom it is about, when that is known; set it on the entry as soon as it is.
        may_go_unlogged: Whether it runs also where no entry can be written, as only erasing may.

    Raises:
        UnloggedError: No entry can be written, so the block was not entered; or it could not be written after all.
    """
    if not may_go_unlogged:
        require_writable(vault, verb)
    entry = Entry(vault, verb, tenant_id)
    try:
        yield entry
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt | BrokenPipeError)
        if not isinstance(error, UnloggedError):
            write_if_possible(entry, f"failed:{'interrupted' if interrupted else error_object(error)['code']}")
        raise
    if not entry.is_written:
        if may_go_unlogged:
            write_if_possible(entry)
        else:
            write_after(entry)


def write_after(entry: Entry, outcome: str = OK) -> None:
    """Logs what has been done.

    Raises:
        UnloggedError: It could not be logged, though it could have been before.
    """
    try:
        entry.write(outcome)
    except SyncvaultError as error:
        raise UnloggedError(f"It was done, but the audit entry could not be written: {error.message}") from error


def write_if_possible(entry: Entry, outcome: str = OK) -> None:
    """Logs what must not fail for the lack of an entry, such as an erasure, or a command that failed anyway."""
    try:
        entry.write(outcome)
    except SyncvaultError as error:
        anyway = " It was done all the same." if outcome == OK else ""
        note(f"The audit entry could not be written: {error.message}{anyway}")
