"""What keeps erased data recoverable after an erasure has done its part, and what ends it.

A root key that only root may replace, a remote key with a deletion window, a passphrase that is still in use, backups
that have not expired: receipts name it and are interim. Once it has ended, the final receipt is issued.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from syncvault.errors import DamagedError, Exit, StorageError, SyncvaultError
from syncvault.roots.port import PrivilegedStepNeededError
from syncvault.store import keys as key_rows
from syncvault.store import tenants as rows
from syncvault.vault.erasing.receipt import Statement, issue, verify
from syncvault.vault.layout import write_durably
from syncvault.vault.vault import Vault

KEY_TABLES: Final = ("wrapped_keys", "root_generations", "anchors")
_DAMAGED: Final = "A key of something else does not open: run `syncvault verify`, and put right what it names."
_REPLACE: Final = "Replace it with `syncvault key rotate-root`."


class ForeignReceiptError(SyncvaultError):
    """A receipt that this vault did not issue, or that was changed since."""

    code = "foreign-receipt"
    exit_code = Exit.FINDINGS


@dataclass(frozen=True, slots=True)
class Kept:
    """A receipt, and where the vault keeps it."""

    statement: Statement
    content: bytes
    path: Path


def keep(vault: Vault, statement: Statement) -> Kept:
    """Issues a receipt and stores it among the vault's own, in the place of an earlier one about the same."""
    path, content = path_of(vault, statement), issue(statement, vault.keys.receipt_seed)
    write_durably(path, content)
    return Kept(statement, content, path)


def path_of(vault: Vault, statement: Statement) -> Path:
    """Where the vault keeps the newest receipt about an erasure."""
    suffix = f".rows-{statement.rows.entry}" if statement.rows else ""
    return vault.layout.receipts / f"{UUID(bytes=statement.tenant_id)}{suffix}.json"


def interim(vault: Vault) -> list[Statement]:
    """What the interim ones among the vault's receipts state; files that are no such receipts do not count."""
    contents = (content for content in _contents(vault) if b"interim" in content)
    found = (genuine(vault, content) for content in contents)
    return [kept.statement for kept in found if kept is not None and kept.statement.outstanding]


def listing(vault: Vault) -> list[Kept]:
    """All receipts that the vault keeps; files that are no receipts of its own do not count.

    Raises:
        StorageError: They cannot be read.
    """
    found = (genuine(vault, content) for content in _contents(vault))
    return [kept for kept in found if kept is not None]


def _contents(vault: Vault) -> Iterator[bytes]:
    try:
        for path in sorted(vault.layout.receipts.glob("*.json")):
            yield path.read_bytes()
    except OSError as error:
        raise StorageError(f"{vault.layout.receipts} cannot be read: {error.strerror}.") from None


def of_root(vault: Vault, last: int, why: str = _REPLACE) -> tuple[str, ...]:
    """What still opens keys that were wrapped under root generations up to `last`.

    Args:
        vault: The vault.
        last: The latest of these generations.
        why: What keeps it in force, if it is.
    """
    with vault.key_data.read() as tx:
        roots = [root for root in key_rows.roots(tx) if root.generation <= last]
    left = []
    for root in roots:
        if root.state == "current":
            left.append(f"root key: not replaced yet. {why}")
        elif root.state == "retired":
            left.append(f"root key generation {root.generation}: {_said(root.outstanding)}")
    return tuple(left)


def why_in_force(error: SyncvaultError) -> str:
    """What a receipt says of a root key that could not be replaced."""
    # Whose key it is that does not open concerns nobody who reads the receipt of another tenant.
    return _DAMAGED if isinstance(error, DamagedError) else f"{error.message} {error.advice}"


def finalize(vault: Vault, receipt: bytes) -> Kept:
    """Issues the final receipt in the place of an interim one, after doing what can be done to end what is outstanding.

    Returns:
        The final receipt, which the vault also keeps (the one that was given, if that is final already); or, while
        something is outstanding, the interim one with what that is now, which is stored nowhere.

    Raises:
        ForeignReceiptError: It is no receipt of this vault.
        BusyError: Somebody else kept reading the vault.
        RootKeyError: The provider cannot be reached.
    """
    kept = genuine(vault, receipt)
    if kept is None:
        raise ForeignReceiptError(
            "This is no receipt of this vault, or it was changed.", advice="Give it as `tenant delete` wrote it."
        )
    statement = kept.statement
    if not statement.outstanding:
        return kept  # as it was issued
    why = _REPLACE
    if statement.rows is None:
        with vault.alone():
            why = _destroy_roots(vault, statement.last_root)
    return _settle(vault, statement, why)


def finish(vault: Vault) -> list[Kept]:
    """Issues the final receipt for every interim one whose reason has ended, or can be ended here and now.

    Raises:
        BusyError: Somebody else kept reading the vault.
        RootKeyError: The provider cannot be reached.
    """
    waiting = interim(vault)
    last = max((statement.last_root for statement in waiting if statement.rows is None), default=0)
    why = _REPLACE
    if last:
        with vault.alone():
            why = _destroy_roots(vault, last, only_changed=True)
    settled = [_settle(vault, statement, why) for statement in waiting]
    return [kept for kept in settled if not kept.statement.outstanding]


def _settle(vault: Vault, statement: Statement, why: str) -> Kept:
    """The final receipt, if nothing is outstanding any more."""
    left = _of_rows(vault, statement) if statement.rows else _of_tenant(vault, statement, why)
    now = max(vault.clock().astimezone(UTC).replace(microsecond=0), statement.requested_at)
    changed = replace(statement, outstanding=left, issued_at=now)
    if left:
        return Kept(changed, b"", path_of(vault, changed))
    if not statement.rows:
        provider, generation = vault.keys.root
        root = {"provider": provider, "generation": generation, "replaced": statement.last_root}
        changed = replace(changed, root_key=root)
    return keep(vault, changed)


def _of_tenant(vault: Vault, statement: Statement, why: str) -> tuple[str, ...]:
    tenant_id = statement.tenant_id
    with vault.read() as tx, vault.key_data.read() as keys:
        is_back = rows.get(tx, tenant_id) is not None or bool(key_rows.of_tenant(keys, tenant_id))
    back = ("the tenant is in the vault again. Erase it with `syncvault tenant delete NAME --yes`.",) if is_back else ()
    return back + of_root(vault, statement.last_root, why)


def _of_rows(vault: Vault, statement: Statement) -> tuple[str, ...]:
    assert statement.rows is not None  # noqa: S101  (the caller has looked)
    until = statement.rows.backups_until
    return (backups_until(until),) if vault.now < until else ()


def backups_until(until: datetime) -> str:
    """How receipts name backups that may still hold erased rows."""
    return f"backups until {until.astimezone(UTC):%Y-%m-%d}"


def _destroy_roots(vault: Vault, last: int, *, only_changed: bool = False) -> str:
    """Has root generations up to `last` destroyed as far as that goes; returns why the last is still in force, if so.

    Hold the vault alone.
    """
    vault.key_data.scrub(KEY_TABLES)
    vault.keys.follow_root()
    if vault.keys.root[1] > last:
        vault.keys.destroy_retired_roots(only_changed=only_changed)
        return ""
    try:
        vault.keys.rekey(vault.now, lambda: vault.key_data.scrub(KEY_TABLES))
    except (PrivilegedStepNeededError, DamagedError) as error:
        return why_in_force(error)
    return ""


def _said(outstanding: str | None) -> str:
    """What the key store notes of a generation that is not destroyed, in a receipt's words."""
    noted = outstanding or "not destroyed yet"
    return noted.replace("pending: ", "pending until ", 1).removeprefix("not possible: ")


def genuine(vault: Vault, content: bytes) -> Kept | None:
    """A receipt, with where the vault would keep it; None if it is not this vault's, or was changed."""
    verdict = verify(content, vault.receipt_public_key.encode("ascii"))
    if not verdict.valid:
        return None
    statement = Statement.from_dict(verdict.content)
    return Kept(statement, content, path_of(vault, statement))
