"""One credential put in the place of another: a durable transaction each, sealed by the vault and in plaintext."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from typing import Final
from uuid import uuid4

from scripts.benchmarks.bare import PURGE_AT, Bare
from scripts.benchmarks.clocks import Watch, ratio
from scripts.benchmarks.postgres import drop_schemas
from scripts.benchmarks.tables import show
from scripts.benchmarks.vaults import NOT_USED, TENANT, home_in, make_vault_to_fill
from syncvault.crypto.padding import pad
from syncvault.vault import credentials, tenants
from syncvault.vault.opening import open_vault
from syncvault.vault.sealing import to_json

_TRANSACTIONS: Final = 200  # in one round
_STATEMENT: Final = (
    "INSERT INTO credentials (id, tenant_id, blob, data_class, purge_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (tenant_id)"
    " DO UPDATE SET id = excluded.id, blob = excluded.blob, data_class = excluded.data_class,"
    " purge_at = excluded.purge_at"
)


def compare_credentials(rounds: int, server: str | None) -> None:
    """Shows what one takes. Both databases lie side by side, so that waiting for the disk is the same for both."""
    taken: dict[str, list[Watch]] = {"plaintext": [], "syncvault": []}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        ours, theirs = Path(directory, "ours"), Path(directory, "theirs")
        for each in (ours, theirs):
            make_vault_to_fill(each, 1, server)
        bare, plain = Bare(theirs), pad(to_json(NOT_USED.to_dict()))
        with open_vault(home_in(ours)) as vault:
            tenant = tenants.find(vault, TENANT)
            for _ in range(rounds):
                watch = Watch()
                with watch.running():
                    for _ in range(_TRANSACTIONS):
                        bare.change(_STATEMENT, uuid4().bytes, bare.tenant_id, plain, "credential", PURGE_AT)
                taken["plaintext"].append(watch)
                watch = Watch()
                with watch.running():
                    for _ in range(_TRANSACTIONS):
                        credentials.replace(vault, tenant, NOT_USED)
                taken["syncvault"].append(watch)
        bare.close()
    if server is not None:
        drop_schemas(server)
    rows = []
    for way, watches in taken.items():
        row = [way]
        for clock in ("cpu", "wall"):
            times = [getattr(watch, clock) for watch in watches]
            row += [
                f"{median(times) / _TRANSACTIONS * 1e6:.0f}",
                ratio(times, [getattr(watch, clock) for watch in taken["plaintext"]]),
            ]
        rows.append(row)
    header = ["", "CPU µs", "times plaintext", "wall µs", "times plaintext"]
    show(f"One credential, a durable transaction each; {rounds} rounds of {_TRANSACTIONS}", header, rows)
