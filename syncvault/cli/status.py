"""`syncvault status`: what the vault holds, what is due, and what needs a look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from syncvault.cli import output
from syncvault.cli.call import AsJson, begin
from syncvault.cli.lookup import damage
from syncvault.cli.rows import tenant_rows

if TYPE_CHECKING:
    from syncvault.service.health import Ending

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def status(context: typer.Context, _json: AsJson = False) -> None:
    """Show what the vault holds, what is due, and whose credential ends soon."""
    from syncvault.service import health
    from syncvault.vault import tenants

    call = begin(context)
    with call.open_vault() as vault:
        roll = tenants.call_roll(vault)
        rows = tenant_rows(vault, roll.tenants)
        due = [one for one in roll.tenants if one.profile and one.profile.subscription.is_due(vault.now)]
        living = [one for one in roll.tenants if one.profile is not None]
        ending = [one for one in health.ending_credentials(vault, living) if isinstance(one, health.Ending)]
    synced = [row["last_sync"] for row in rows if row["last_sync"]]
    data: dict[str, Any] = {
        "tenants": len(rows),
        "contacts": sum(row["contacts"] for row in rows),
        "photos": sum(row["photos"] for row in rows),
        "due_for_purge": len(due) + sum(row["state"] == "erasing" for row in rows),
        "quarantined": sum(row["quarantined"] is not None for row in rows),
        "oldest_sync": min(synced, default=None),
        "never_synced": len(rows) - len(synced),
        "next_purge_on": min((row["purge_on"] for row in rows), default=None),
    }
    damaged = damage(roll)
    lines: list[tuple[str, object]] = [(key.replace("_", " "), value) for key, value in data.items()]
    lines += [("warning", f"{one.message}\n{one.advice}") for one in ending]
    data["ending_credentials"] = [_ending_row(one) for one in ending]
    output.print_object(call, data, lines, failure=damaged)
    if damaged is not None:
        raise damaged


def _ending_row(one: Ending) -> dict[str, Any]:
    return {
        "tenant": one.tenant,
        "kind": str(one.kind),
        "credential_expires_on": one.ends_at.date().isoformat(),
        "has_ended": one.has_ended,
        "warning": one.message,
        "advice": one.advice,
    }
