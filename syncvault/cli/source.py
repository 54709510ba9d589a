"""`syncvault source`: who is pulled: people, groups and lists of them, whole directories, public folders."""

from __future__ import annotations

from collections.abc import Callable
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
_KINDS: Final = {
    TenantKind.ONLINE: ("user", "group", "all-users", "org-contacts"),
    TenantKind.ONPREM: ("mailbox", "gal", "list", "public-folder"),
}


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
    gal: Annotated[
        bool, typer.Option("--gal", help="Cards of everybody in the global address list (on-premises).")
    ] = False,
    list_: Annotated[
        list[str] | None,
        typer.Option("--list", metavar="ADDR", help="A distribution list's address: its members (on-premises)."),
    ] = None,
    public_folder: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH", help="A public folder, like a/b or \\a\\b, with contact folders below it (on-premises)."
        ),
    ] = None,
    all_users: Annotated[bool, typer.Option("--all-users", help="Everybody in the directory (online).")] = False,
    department: Annotated[str | None, typer.Option(metavar="D", help="Of all users: only this department.")] = None,
    company: Annotated[str | None, typer.Option(metavar="C", help="Of all users: only this company.")] = None,
    domain: Annotated[
        str | None, typer.Option(metavar="DOM", help="Of all users: only with a primary address in this domain.")
    ] = None,
    exclude_group: Annotated[
        str | None, typer.Option(metavar="ID", help="Of all users: nobody in this group or in groups below it.")
    ] = None,
    include_disabled: Annotated[
        bool, typer.Option("--include-disabled", help="Of all users: those too who may not sign in.")
    ] = False,
    include_hidden: Annotated[
        bool, typer.Option("--include-hidden", help="Of all users: those too whom address lists do not show.")
    ] = False,
    org_contacts: Annotated[
        bool, typer.Option("--org-contacts", help="The contacts of the organisation (online).")
    ] = False,
    _json: AsJson = False,
) -> None:
    """Register what to pull. Options that take an ID, address or path may be repeated; filters are joined by and."""
    from syncvault.vault.content import sources
    from syncvault.vault.content.filters import UserFilter

    call = begin(context)
    people = UserFilter(
        department=_given(values.filled_text, department, "--department"),
        company=_given(values.filled_text, company, "--company"),
        domain=_given(values.domain, domain, "--domain"),
        exclude_group=_given(values.guid, exclude_group, "--exclude-group"),
        disabled=include_disabled,
        hidden=include_hidden,
    )
    if people != UserFilter() and not all_users:
        raise UsageError("A filter was given, but nobody to choose from.", advice="Give it together with --all-users.")
    wanted = [("user", values.guid(text, "--user"), UserFilter()) for text in user or ()]
    wanted += [("group", values.guid(text, "--group"), UserFilter()) for text in group or ()]
    wanted += [("mailbox", values.address(text, "--mailbox"), UserFilter()) for text in mailbox or ()]
    wanted += [("gal", "", UserFilter())] * gal
    wanted += [("list", values.address(text, "--list"), UserFilter()) for text in list_ or ()]
    wanted += [
        ("public-folder", values.folder_path(text.replace("\\", "/"), "--public-folder"), UserFilter())
        for text in public_folder or ()
    ]
    wanted += [("all-users", "", people)] * all_users
    wanted += [("org-contacts", "", UserFilter())] * org_contacts
    if not wanted:
        online, onprem = f"--user {values.EXAMPLES['--directory-id']}", "--mailbox anna@example.com"
        raise UsageError("No source was given.", advice=f"Give it like {online}, or on premises like {onprem}")
    with call.open_vault() as vault, audited(vault, call.command) as entry:
        found = living(vault, tenant, entry)
        allowed = _KINDS[found.facts.kind]
        if foreign := next((kind for kind, _, _ in wanted if kind not in allowed), None):
            raise UsageError(
                f"--{foreign} does not go with a tenant of kind {found.facts.kind}.",
                advice=f"Give {' or '.join(f'--{kind}' for kind in allowed)}.",
            )
        added = [sources.add(vault, found, *one) for one in dict.fromkeys(wanted)]
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


def _given(parse: Callable[[str, str], str], text: str | None, name: str) -> str:
    return "" if text is None else parse(text, name)
