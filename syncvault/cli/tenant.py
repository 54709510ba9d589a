"""`syncvault tenant`: registering, showing, changing, cancelling, renewing and deleting tenants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from syncvault.cli import erasing, output, tenant_add, tenant_edit, values
from syncvault.cli.audited import audited
from syncvault.cli.call import AsJson, Reveal, begin
from syncvault.cli.lookup import damage
from syncvault.cli.options import TenantName
from syncvault.cli.output import Column
from syncvault.cli.rows import tenant_rows
from syncvault.cli.tenant_edit import change, print_tenant
from syncvault.policy.subscription import State
from syncvault.vault.model import TenantProfile

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=False)
app.command("add-online")(tenant_add.add_online)
app.command("add-onprem")(tenant_add.add_onprem)
app.command("import")(tenant_add.import_)
app.command("edit")(tenant_edit.edit)

_LIST_COLUMNS: Final = (
    Column("name", "tenant"),
    Column("kind", "kind"),
    Column("state", "state"),
    Column("mailboxes", "mailboxes"),
    Column("contacts", "contacts"),
    Column("photos", "photos"),
    Column("ends_on", "ends on"),
    Column("purge_on", "purge on"),
    Column("last_sync", "last sync"),
)


@app.command("list")
def list_(
    context: typer.Context,
    *,
    state: Annotated[str, typer.Option(metavar="S", help="Only those in this state.")] = "",
    _json: AsJson = False,
) -> None:
    """List the tenants."""
    from syncvault.vault import tenants

    call = begin(context)
    if state:
        values.choice(state, "--state", list(State))
    with call.open_vault() as vault:
        roll = tenants.call_roll(vault)
        rows = tenant_rows(vault, roll.tenants)
    found = [row for row in rows if not state or row["state"] == state]
    shown = [{**row, "state": f"{row['state']}, quarantined" if row["quarantined"] else row["state"]} for row in found]
    damaged = damage(roll)
    output.print_items(call, found if call.as_json else shown, _LIST_COLUMNS, none="No tenants.", failure=damaged)
    if damaged is not None:
        raise damaged


@app.command()
def show(context: typer.Context, name: TenantName, reveal: Reveal = False, _json: AsJson = False) -> None:
    """Show one tenant."""
    from syncvault.vault import tenants

    call = begin(context)
    with call.open_vault() as vault:
        if not reveal:
            row = tenant_rows(vault, [tenants.find(vault, name)])[0]
        else:
            with audited(vault, call.command) as entry:
                tenant = tenants.find(vault, name)
                entry.tenant_id = tenant.id
                row = tenant_rows(vault, [tenant], reveal=True)[0]
                entry.write()
    print_tenant(call, row)


@app.command()
def cancel(
    context: typer.Context,
    name: TenantName,
    *,
    ends: Annotated[
        str, typer.Option(metavar="DATE", help="The day on which it ends; may be past.", show_default=False)
    ],
    _json: AsJson = False,
) -> None:
    """Let a subscription end; every purge date moves with it."""
    call, day = begin(context), values.day(ends, "--ends")
    change(call, name, lambda *_: lambda facts: facts.with_subscription(facts.subscription.cancel(day)))


@app.command()
def renew(
    context: typer.Context,
    name: TenantName,
    *,
    until: Annotated[str, typer.Option(metavar="DATE", help="The day until which it is covered.", show_default=False)],
    _paid: Annotated[bool, typer.Option("--paid", help="Say outright that a trial becomes paid.")] = False,
    term: Annotated[str, typer.Option(metavar="P1M|P1Y", help="By what it rolls on from then.")] = "",
    _json: AsJson = False,
) -> None:
    """Renew a subscription; a trial becomes paid, a cancellation is lifted, every purge date moves with it."""
    call, day = begin(context), values.day(until, "--until")
    rolls_by = values.choice(term, "--term", values.TERMS) if term else ""

    def apply(facts: TenantProfile) -> TenantProfile:
        renewed = facts.subscription.renew(day)
        return facts.with_subscription(replace(renewed, term=rolls_by or renewed.term))

    change(call, name, lambda *_: apply)


@app.command()
def delete(
    context: typer.Context,
    name: TenantName,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Erase it; without this, only show what would go.")] = False,
    receipt: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the signed receipt here as well.")] = None,
    vacuum: erasing.Vacuum = False,
    _json: AsJson = False,
) -> int:
    """Erase a tenant with everything that is stored of it."""
    return erasing.delete_tenant(begin(context), name, yes=yes, receipt=receipt, vacuum=vacuum)
