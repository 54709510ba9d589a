"""`syncvault audit`: who changed or looked at what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import typer

from syncvault.cli import output
from syncvault.cli.call import AsJson, begin
from syncvault.cli.output import Column, instant
from syncvault.cli.rows import id_text

if TYPE_CHECKING:
    from syncvault.vault.audit import Entry

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_COLUMNS: Final = (
    Column("at", "at", 20),
    Column("uid", "uid", 6),
    Column("role", "role", 7),
    Column("verb", "verb", 18),
    Column("outcome", "outcome", 20),
    Column("tenant_id", "tenant", 36),
)


@app.callback()
def _audit() -> None:
    """Read the log of changes and disclosures."""


@app.command("list")
def list_(context: typer.Context, _json: AsJson = False) -> None:
    """List the log, newest first."""
    from syncvault.vault import audit

    call = begin(context)
    with call.open_vault() as vault:
        output.stream_items(call, (_row(entry) for entry in audit.listing(vault)), _COLUMNS, none="The log is empty.")


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "at": instant(entry.at),
        "uid": entry.uid,
        "role": entry.role,
        "verb": entry.verb,
        "tenant_id": id_text(entry.tenant_id) if entry.tenant_id else None,
        "outcome": entry.outcome,
    }
