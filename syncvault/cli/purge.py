"""`syncvault purge`: erases every tenant whose purge date has come; previews unless told `--yes`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from syncvault.cli import erasing, output, values
from syncvault.cli.audited import audited, write_if_possible
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
    vacuum: erasing.Vacuum = False,
    _json: AsJson = False,
) -> int:
    """Erase every tenant whose purge date has come."""
    from syncvault.retention import purge as retention
    from syncvault.vault.trail import audit

    call, finished, repaired = begin(context), list[dict[str, Any]](), 0
    failures: Sequence[str]
    day = values.day(as_of, "--as-of") if as_of else None
    if yes and day is not None:
        raise UsageError("--as-of only previews and does not go with --yes.", advice="Leave one of them out.")
    with call.open_vault() as vault:
        if yes:
            with audited(vault, call.command, may_go_unlogged=True) as entry:
                outcome = retention.purge(
                    vault,
                    role=audit.role(),
                    accept_clock=accept_clock,
                    vacuum=vacuum,
                    keep_days=call.settings.backup_keep_days,
                )
                erasing.record_purged(entry, outcome.erased)
                if outcome.failures:
                    write_if_possible(entry, "failed:partial" if outcome.erased else "failed:failed")
            rows, failures = [erasing.erased_row(one) for one in outcome.erased], outcome.failures
            finished, repaired = [erasing.kept_row(kept) for kept in outcome.finished], outcome.repaired
        else:
            plans, failures = retention.preview(vault, day)
            rows = [erasing.plan_row(plan) for plan in plans]
    more = {"failures": list(failures), "finished": finished, "repaired": repaired}
    output.print_items(call, rows, erasing.COLUMNS, none="Nothing is due.", more=more)
    if repaired:
        note(f"The purge dates of {repaired} tenants disagreed with the facts and were put right.")
    for row in finished:
        note(f"The receipt {shown(row['receipt'])} is {row['receipt_status']} now.")
    if rows and not yes:
        output.say(call, "Nothing was erased. `syncvault purge --yes` erases what is due today.")
    for row in rows:
        erasing.tell_outstanding(row)
    for failure in failures:
        note(f"Not purged: {shown(failure)}")
    if not yes:
        return Exit.OK
    if failures and not rows:
        return Exit.FAILED
    if failures or any(row["outstanding"] for row in rows):
        return Exit.PARTLY
    return Exit.FINDINGS if repaired else Exit.OK
