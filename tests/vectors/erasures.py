"""What an erasure leaves behind, signed: its intent and the ledger; and ledgers that nobody may accept."""

from __future__ import annotations

import json
from typing import Any

from syncvault.crypto.signature import public_key_pem
from syncvault.store.ledger import LedgerRow
from syncvault.vault.erasing import ledger
from syncvault.vault.erasing.intent import Intent, to_text
from tests.vectors.material import TENANT_ID, some


def erasures() -> dict[str, Any]:
    """What an erasure under way holds, and the ledger of two, the first from before entries were signed."""
    seed, at = some("receipt seed", 32), 1806537605
    intent = Intent(
        tenant_id=TENANT_ID,
        epoch=2,
        reason="on-demand",
        role="root",
        requested_at=at,
        due_on="2027-04-01",
        rules=1,
        keys=("data/1", "index/1"),
        counts={"profiles": 1, "contacts": 1234},
    )
    entries = [LedgerRow(1, at - 9, "intent", some("erased", 16), '{"reason":"retention","rule_version":1}')]
    for event, detail in (
        ("intent", {"reason": "on-demand", "rule_version": 1}),
        ("keys_destroyed", {"keys": ["data/1", "index/1"]}),
        ("completed", {"outstanding": ['root key: not "replaced" yet \u2013 \\ \t']}),
        ("rows_erased", {"finished": 4}),
    ):
        plain = LedgerRow(len(entries) + 1, at, event, TENANT_ID, json.dumps(detail, separators=(",", ":")))
        entries.append(ledger.signed(seed, plain, entries[-1]))
    forged = {
        "a changed entry": [*entries[:2], entries[2]._replace(at=at + 1), *entries[3:]],
        "an entry taken out": [*entries[:2], *entries[3:]],
        "an entry without its signature": [*entries[:3], entries[3]._replace(signature=None), *entries[4:]],
        "two entries changed places": [*entries[:2], entries[3], entries[2], entries[4]],
        "the first of the signed ones taken out": [entries[0], *entries[2:]],
        "one more without a signature": [entries[0], LedgerRow(2, at, "intent", TENANT_ID, "{}")],
    }
    return {
        "public_key": public_key_pem(seed),
        "tenant_id": TENANT_ID.hex(),
        "epoch": 2,
        "intent": to_text(intent, seed),
        "unsigned_until": 1,
        "ledger": ledger.to_text(entries).decode(),
        "refused": [{"why": why, "ledger": ledger.to_text(rows).decode()} for why, rows in forged.items()],
    }
