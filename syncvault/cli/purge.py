"""`syncvault purge`: erases every tenant whose purge date has come; previews unless told `--yes`."""

from __future__ import annotations

from typing import Annotated

import typer

from syncvault.cli import erasing, output, values
from syncvault.cli.audited import audited
from syncvault.cli.call import AsJson, begin
from syncvault.cli.terminal import note, shown
from syncvault.errors import Exit, UsageError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


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

    call, failures = begin(context), tuple[str, ...]()
    day = values.day(as_of, "--as-of") if as_of else None
    if yes and day is not None:
        raise UsageError("--as-of only previews and does not go with --yes.", advice="Leave one of them out.")
    with call.open_vault() as vault:
        if yes:
            with audited(vault, call.command, may_go_unlogged=True) as entry:
                outcome = retention.purge(vault, role=audit.role(), accept_clock=accept_clock)
                erasing.record_purged(entry, outcome.erased)
            rows, failures = [erasing.erased_row(one) for one in outcome.erased], outcome.failures
            if outcome.repaired:
                note(f"The purge dates of {outcome.repaired} tenants disagreed with the facts and were put right.")
        else:
            rows = [erasing.plan_row(plan) for plan in retention.preview(vault, day)]
    output.print_items(call, rows, erasing.COLUMNS, none="Nothing is due.", more={"failures": list(failures)})
    if rows and not yes:
        output.say(call, "Nothing was erased. `syncvault purge --yes` erases what is due today.")
    for row in rows:
        erasing.tell_outstanding(row)
    for failure in failures:
        note(f"Not purged: {shown(failure)}")
    if failures and not rows:
        return Exit.FAILED
    return Exit.PARTLY if failures or any(row["outstanding"] for row in rows) else Exit.OK
