"""Going through a whole vault: verifying it, and rotating a tenant's keys."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import orjson

from scripts.benchmarks.clocks import Watch
from scripts.benchmarks.entries import PAGE, pages
from scripts.benchmarks.postgres import drop_schemas
from scripts.benchmarks.tables import show
from scripts.benchmarks.vaults import TENANT, home_in, make_vault_to_fill
from syncvault.vault import tenants
from syncvault.vault.content import sources
from syncvault.vault.content.diff import Incoming
from syncvault.vault.content.pages import IncomingPage, store_pages
from syncvault.vault.keyring import rotation
from syncvault.vault.keyring.wrapped import Purpose
from syncvault.vault.opening import open_vault
from syncvault.vault.vault import Vault
from syncvault.vault.verify import verify

_FOLDER: Final = "contacts"


def measure_proof(count: int, server: str | None) -> None:
    """Shows what a vault of `count` contacts takes."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        make_vault_to_fill(Path(directory), max(1, count // PAGE), server)
        with open_vault(home_in(Path(directory))) as vault:
            _fill(vault, count)
            deeds = {
                "verify": lambda: _verified(vault),
                "rotate the data key": lambda: _rotated(vault, Purpose.DATA),
                "rotate the index key": lambda: _rotated(vault, Purpose.INDEX),
                "verify again": lambda: _verified(vault),
            }
            rows = [_measure(name, deed) for name, deed in deeds.items()]
    if server is not None:
        drop_schemas(server)
    header = ["", "rows", "CPU µs a row", "wall µs a row", "rows/s"]
    processors = os.cpu_count()
    show(f"A vault of {count:,} contacts on {processors} processors; CPU time without helpers'", header, rows)


def _measure(name: str, deed: Callable[[], int]) -> list[str]:
    watch = Watch()
    with watch.running():
        rows = deed()
    times = [f"{seconds / rows * 1e6:.1f}" for seconds in (watch.cpu, watch.wall)]
    return [name, f"{rows:,}", *times, f"{rows / watch.wall:,.0f}"]


def _fill(vault: Vault, count: int) -> None:
    """Stores contacts as a pull does: what is verified has to fit together."""
    tenant = tenants.find(vault, TENANT)
    mailboxes = {mailbox.id: mailbox for mailbox in sources.to_pull(vault, tenant)}
    number = 0
    for page in pages(count, list(mailboxes)):
        upserts = []
        for entry in page:
            upserts.append(Incoming(f"{number}", orjson.loads(entry.plain)["fields"], has_photo=False))
            number += 1
        incoming = IncomingPage(_FOLDER, "Contacts", upserts, [], checkpoint=f"{number}", last=True)
        store_pages(vault, tenant, [(mailboxes[page[0].mailbox_id], incoming)], "")


def _verified(vault: Vault) -> int:
    verdict = verify(vault)
    if verdict.findings:
        raise SystemExit(f"nobody touched the vault, and {verdict.findings[0]}")
    return verdict.checked


def _rotated(vault: Vault, purpose: Purpose) -> int:
    return rotation.rotate(vault, tenants.find(vault, TENANT), {purpose})
