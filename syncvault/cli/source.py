"""`syncvault source`: the users, groups and mailboxes that are pulled."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from syncvault.cli import output, values
from syncvault.cli.audited import audited, write_after
from syncvault.cli.call import AsJson, Reveal, TenantArgument, begin
from syncvault.cli.lookup import living
from syncvault.cli.output import Column
from syncvault.cli.rows import source_row
from syncvault.errors import UsageError
from syncvault.vault.model import TenantKind

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_COLUMNS: Final = (
    Column("id", "id"),
    Column("kind", "kind"),
    Column("ref", "ref"),
    Column("mailboxes", "mailboxes"),
    Column("purge_on", "purge on"),
)
_KINDS: Final = {TenantKind.ONLINE: ("user", "group"), TenantKind.ONPREM: ("mailbox",)}


@app.command()
def add(
    context: typer.Context,
    tenant: TenantArgument,
    *,
    user: Annotated[list[str] | None, typer.Option(metavar="ID", help="A user's object ID (online).")] = None,
    group: Annotated[list[str] | None, typer.Option(metavar="ID", help="A group's object ID (online).")] = None,
    mailbox: Annotated[
        list[str] | None, typer.Option(metavar="ADDR", help="A mailbox's address (on-premises).")
    ] = None,
    _json: AsJson = False,
) -> None:
    """Register what to pull; each option may be given several times."""
    from syncvault.vault.content import sources

    call = begin(context)
    wanted = [("user", values.guid(text, "--user")) for text in user or ()]
    wanted += [("group", values.guid(text, "--group")) for text in group or ()]
    wanted += [("mailbox", values.address(text, "--mailbox")) for text in mailbox or ()]
    if not wanted:
        raise UsageError("No source was given.", advice=f"Give it like --user {values.EXAMPLES['--directory-id']}")
    with call.open_vault() as vault, audited(vault, call.command) as entry:
        found = living(vault, tenant, entry)
        allowed = _KINDS[found.facts.kind]
        if foreign := next((kind for kind, _ in wanted if kind not in allowed), None):
            raise UsageError(
                f"--{foreign} does not go with a tenant of kind {found.facts.kind}.",
                advice=f"Give {' or '.join(f'--{kind}' for kind in allowed)}.",
            )
        added = [sources.add(vault, found, kind, ref) for kind, ref in dict.fromkeys(wanted)]
        write_after(entry)
        zone = found.facts.subscription.zone
    output.print_items(call, [source_row(one, zone, reveal=False) for one in added], _COLUMNS, none="No sources.")


@app.command("list")
def list_(context: typer.Context, tenant: TenantArgument, reveal: Reveal = False, _json: AsJson = False) -> None:
    """List a tenant's sources."""
    from syncvault.vault.content import sources

    call = begin(context)
    with call.open_vault() as vault:
        if reveal:
            with audited(vault, call.command) as entry:
                found = living(vault, tenant, entry)
                held = sources.listing(vault, found)
                entry.write()
        else:
            found = living(vault, tenant)
            held = sources.listing(vault, found)
    zone = found.facts.subscription.zone
    output.print_items(call, [source_row(one, zone, reveal=reveal) for one in held], _COLUMNS, none="No sources.")


@app.command()
def remove(
    context: typer.Context,
    tenant: TenantArgument,
    source_id: Annotated[str, typer.Argument(metavar="SOURCE_ID", help="Its id, as `source list` shows it.")],
    _json: AsJson = False,
) -> None:
    """Stop pulling a source; the contacts that only it brought go at the end of the next sync."""
    from syncvault.vault.content import sources

    call, wanted = begin(context), values.own_id(source_id, "SOURCE_ID")
    with call.open_vault() as vault, audited(vault, call.command) as entry:
        found = living(vault, tenant, entry)
        sources.remove(vault, found, wanted)
    output.print_object(call, {"tenant": tenant, "removed": source_id}, [("removed", source_id)])
    output.say(call, "Its contacts go at the end of the next sync.")
