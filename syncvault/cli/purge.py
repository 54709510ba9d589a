"""`syncvault purge`: erases every tenant whose purge date has come; previews unless told `--yes`."""

from __future__ import annotations

from typing import Annotated

import typer

from syncvault.cli import erasing, output, values
from syncvault.cli.audited import audited
from syncvault.cli.call import AsJson, begin
from syncvault.cli.terminal import note
from syncvault.errors import Exit, UsageError

app = typer.Typer(rich_markup_mode=None)


@app.command()
def purge(
    context: typer.Context,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Erase them; without this, only show which are due.")] = False,
    as_of: Annotated[str, typer.Option(metavar="DATE", help="Show which would be due on that day.")] = "",
    accept_clock: Annotated[
        bool, typer.Option("--accept-clock", help="Purge though the clock leapt or went back: it is right now.")
    ] = False,
    _json: AsJson = False,
) -> int:
    """Erase every tenant whose purge date has come."""
    from syncvault.retention import purge as retention
    from syncvault.vault import audit

    call = begin(context)
    day = values.day(as_of, "--as-of") if as_of else None
    if yes and day is not None:
        raise UsageError("--as-of only previews and does not go with --yes.", advice="Leave one of them out.")
    with call.open_vault() as vault:
        if yes:
            with audited(vault, call.command) as entry:
                outcome = retention.purge(vault, role=audit.role(), accept_clock=accept_clock)
                erasing.record_purged(entry, outcome.erased)
            rows = [erasing.erased_row(one) for one in outcome.erased]
            if outcome.repaired:
                note(f"The purge dates of {outcome.repaired} tenants disagreed with the facts and were put right.")
        else:
            rows = [erasing.plan_row(plan) for plan in retention.preview(vault, day)]
    output.print_items(call, rows, erasing.COLUMNS, none="Nothing is due.")
    if rows and not yes:
        output.say(call, "Nothing was erased. `syncvault purge --yes` erases what is due today.")
    for row in rows:
        erasing.tell_outstanding(row)
    return Exit.PARTLY if any(row["outstanding"] for row in rows) else Exit.OK
