"""The receipt: a signed statement of what was erased, verifiable by anyone who holds the vault's public key."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson

from syncvault.crypto.signature import Subject, is_signed_by, public_key_from_pem, sign
from syncvault.crypto.strict_json import parse_signed
from syncvault.errors import InputError

SCHEMA: Final = "syncvault/receipt/1"
MAX_SIZE: Final = 1024 * 1024  # bytes; a receipt takes about one kilobyte


@dataclass(frozen=True, slots=True)
class Rows:
    """What was erased where it was less than a tenant.

    Attributes:
        entry: Number of the ledger's entry that ordered it.
        contacts: IDs of contacts.
        mailboxes: IDs of mailboxes, which went with everything in them.
        backups_until: When the last backup that may hold them expires.
    """

    entry: int
    contacts: tuple[bytes, ...]
    mailboxes: tuple[bytes, ...]
    backups_until: datetime

    def to_dict(self) -> dict[str, Any]:
        """The plain form."""
        return {
            "entry": self.entry,
            "contacts": [str(UUID(bytes=each)) for each in self.contacts],
            "mailboxes": [str(UUID(bytes=each)) for each in self.mailboxes],
            "backups_until": _instant(self.backups_until),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Rows:
        """From the plain form."""
        return cls(
            entry=plain["entry"],
            contacts=tuple(UUID(each).bytes for each in plain["contacts"]),
            mailboxes=tuple(UUID(each).bytes for each in plain["mailboxes"]),
            backups_until=datetime.fromisoformat(plain["backups_until"]),
        )


@dataclass(frozen=True, slots=True)
class Statement:
    """What a receipt says. It holds no personal data: tenants and vaults appear by their random IDs.

    Attributes:
        reason: `on-demand` or `retention`.
        requested_by: The role that asked (`root`, `user`), not the person.
        counts: Rows removed, by data class.
        keys_destroyed: Tenant keys destroyed, as `purpose/generation`.
        root_key: The provider, the root generation in force, and the one that it replaced, if it could be.
        storage: What was done to the storage below the database.
        outstanding: What still keeps the erased data recoverable; empty in a final receipt.
        rows: What was erased, if it was less than the tenant.
    """

    vault_id: bytes
    tenant_id: bytes
    reason: str
    requested_by: str
    requested_at: datetime
    issued_at: datetime
    rule_version: int
    counts: Mapping[str, int]
    keys_destroyed: tuple[str, ...]
    root_key: Mapping[str, Any]
    storage: tuple[str, ...]
    outstanding: tuple[str, ...]
    rows: Rows | None = None

    @property
    def last_root(self) -> int:
        """The latest root generation under which the erased keys were ever wrapped."""
        generation: int = self.root_key["replaced"] or self.root_key["generation"]
        return generation

    @property
    def status(self) -> str:
        """`final`, or `interim` while anything is outstanding."""
        return "interim" if self.outstanding else "final"

    def to_dict(self) -> dict[str, Any]:
        """The plain form that is signed."""
        plain = {
            "schema": SCHEMA,
            "status": self.status,
            "vault_id": str(UUID(bytes=self.vault_id)),
            "tenant_id": str(UUID(bytes=self.tenant_id)),
            "reason": self.reason,
            "requested_by": self.requested_by,
            "requested_at": _instant(self.requested_at),
            "issued_at": _instant(self.issued_at),
            "rule_version": self.rule_version,
            "counts": dict(self.counts),
            "keys_destroyed": list(self.keys_destroyed),
            "root_key": dict(self.root_key),
            "storage": list(self.storage),
            "outstanding": list(self.outstanding),
        }
        return plain if self.rows is None else plain | {"rows": self.rows.to_dict()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Statement:
        """From the plain form, as a genuine receipt has it."""
        return cls(
            vault_id=UUID(plain["vault_id"]).bytes,
            tenant_id=UUID(plain["tenant_id"]).bytes,
            reason=plain["reason"],
            requested_by=plain["requested_by"],
            requested_at=datetime.fromisoformat(plain["requested_at"]),
            issued_at=datetime.fromisoformat(plain["issued_at"]),
            rule_version=plain["rule_version"],
            counts=plain["counts"],
            keys_destroyed=tuple(plain["keys_destroyed"]),
            root_key=plain["root_key"],
            storage=tuple(plain["storage"]),
            outstanding=tuple(plain["outstanding"]),
            rows=Rows.from_dict(plain["rows"]) if "rows" in plain else None,
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a receipt is genuine, and what it says."""

    valid: bool
    content: Mapping[str, Any]


def issue(statement: Statement, seed: bytes) -> bytes:
    """The receipt as JSON text, with its signature beside the statement."""
    document = statement.to_dict()
    signature = base64.b64encode(sign(seed, Subject.RECEIPT, document)).decode("ascii")
    return orjson.dumps({"statement": document, "signature": signature}, option=orjson.OPT_INDENT_2) + b"\n"


def verify(receipt: bytes, public_pem: bytes) -> Verdict:
    """Whether a receipt was issued by the vault with this public key and is unchanged.

    What cannot even be read as a receipt is not genuine either: nobody can tell it from one that was altered.

    Raises:
        InputError: The public key is none.
    """
    try:
        statement, signature = parse_signed(receipt, "statement")
        well_formed = statement["schema"] == SCHEMA
    except (ValueError, KeyError, TypeError):
        statement, signature, well_formed = {}, b"", False
    try:
        genuine = is_signed_by(public_key_from_pem(public_pem), Subject.RECEIPT, statement, signature)
    except ValueError as error:
        raise InputError(
            "The public key file holds no Ed25519 public key.",
            advice="`syncvault receipt public-key` prints the one of this vault.",
        ) from error
    except TypeError:
        genuine = False  # a value that no receipt holds, so nothing that could have been signed
    return Verdict(well_formed and genuine, statement)


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
