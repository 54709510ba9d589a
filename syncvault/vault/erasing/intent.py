"""What an erasure under way is to end with, signed: nobody orders one by writing to the database.

It stands in the tenant's own row from the moment the tenant is fenced off, and holds everything that the receipt will
say and that can no longer be known when it is written.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final
from uuid import UUID

import orjson

from syncvault.crypto.signature import Subject, is_signed_by, sign
from syncvault.crypto.strict_json import parse_signed
from syncvault.errors import DamagedError
from syncvault.store.tenants import TenantRow


@dataclass(frozen=True, slots=True)
class Intent:
    """An erasure that was asked for.

    Attributes:
        tenant_id: Whose.
        epoch: The tenant's, since it was fenced off.
        reason: `on-demand` or `retention`.
        role: Who asked.
        requested_at: When, in epoch seconds.
        due_on: The day on which it was due, `YYYY-MM-DD`.
        rules: Version of the retention catalogue.
        keys: The tenant's keys, as `purpose/generation`.
        counts: Rows held of each data class.
    """

    tenant_id: bytes
    epoch: int
    reason: str
    role: str
    requested_at: int
    due_on: str
    rules: int
    keys: tuple[str, ...]
    counts: Mapping[str, int]


_ADVICE: Final = (
    "Find out who changed the database and restore it from a backup, or erase the tenant with"
    " `syncvault tenant delete NAME --yes`."
)


def to_text(intent: Intent, seed: bytes) -> str:
    """The intent as `tenants.erasure` holds it, signed with the vault's signing seed."""
    document = {**asdict(intent), "tenant_id": str(UUID(bytes=intent.tenant_id))}
    signature = base64.b64encode(sign(seed, Subject.INTENT, document)).decode("ascii")
    return orjson.dumps({"intent": document, "signature": signature}).decode()


def read(row: TenantRow, public: bytes) -> Intent:
    """The intent in the row of a tenant in erasure.

    Args:
        row: The tenant's.
        public: The vault's public key, 32 bytes.

    Raises:
        DamagedError: It is not this vault's, or of another tenant or epoch.
    """
    whose = str(UUID(bytes=row.id))
    try:
        document, signature = parse_signed((row.erasure or "").encode(), "intent")
        is_good = is_signed_by(public, Subject.INTENT, document, signature)
        is_good &= (document["tenant_id"], document["epoch"]) == (whose, row.epoch)
    except (ValueError, KeyError, TypeError):
        is_good, document = False, {}
    if not is_good:
        raise DamagedError(
            f"Tenant {whose} is marked as being erased, but this vault was never told to erase it.", advice=_ADVICE
        )
    return Intent(**{**document, "tenant_id": row.id, "keys": tuple(document["keys"])})
