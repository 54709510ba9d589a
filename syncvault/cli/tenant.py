"""`syncvault tenant`: registering, showing, changing, cancelling, renewing and deleting tenants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from syncvault.cli import erasing, output, registration, scoping, tenant_add, values
from syncvault.cli.audited import audited, write_after
from syncvault.cli.call import AsJson, Call, Reveal, begin
from syncvault.cli.lookup import damage, living
from syncvault.cli.output import Column
from syncvault.cli.rows import tenant_rows
from syncvault.cli.tenant_add import given_options
from syncvault.errors import UsageError
from syncvault.policy.subscription import State
from syncvault.vault.model import TenantProfile

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=False)
app.command("add-online")(tenant_add.add_online)
app.command("add-onprem")(tenant_add.add_onprem)
app.command("import")(tenant_add.import_)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The tenant's name.", show_default=False)]

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
_PLAIN: Final = frozenset({"admin-mail", "billing-mail", "customer-number", "locale"})
_OF_CONNECTION: Final = {
    "online": ("directory-id", "client-id", "cloud", "authority", "graph-url", "no-proxy"),
    "onprem": ("ews-url", "username", "auth"),
}


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
def show(context: typer.Context, name: Name, reveal: Reveal = False, _json: AsJson = False) -> None:
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
    _print_tenant(call, row)


@app.command()
def edit(
    context: typer.Context,
    name: Name,
    *,
    admin_mail: Annotated[str | None, typer.Option(metavar="ADDR", help="Who administers the tenant.")] = None,
    billing_mail: Annotated[str | None, typer.Option(metavar="ADDR", help='Where invoices go; "" for none.')] = None,
    customer_number: Annotated[str | None, typer.Option(metavar="TEXT", help='Your number; "" for none.')] = None,
    locale: Annotated[str | None, typer.Option(metavar="de|en", help="The language of mails.")] = None,
    time_zone: Annotated[str | None, typer.Option(metavar="ZONE", help="Where the tenant's days begin.")] = None,
    directory_id: Annotated[str | None, typer.Option(metavar="GUID", help="Entra directory ID.")] = None,
    client_id: Annotated[str | None, typer.Option(metavar="GUID", help="Application (client) ID.")] = None,
    cloud: Annotated[str | None, typer.Option(metavar="global|us-gov|us-dod|china", help="Microsoft's cloud.")] = None,
    authority: Annotated[str | None, typer.Option(metavar="URL", help='Sign in here; "" for the cloud\'s own.')] = None,
    graph_url: Annotated[
        str | None, typer.Option(metavar="URL", help='Graph is here; "" for the cloud\'s own.')
    ] = None,
    ews_url: Annotated[str | None, typer.Option(metavar="URL", help="https://…/EWS/Exchange.asmx")] = None,
    username: Annotated[str | None, typer.Option(metavar="USER", help="The service account.")] = None,
    auth: Annotated[str | None, typer.Option(metavar="ntlm|basic", help="How the account signs in.")] = None,
    ca_bundle: Annotated[str | None, typer.Option(metavar="FILE", help='Authorities trusted besides; "" none.')] = None,
    no_proxy: tenant_add.NoProxy = None,
    profile: scoping.Profile = None,
    folder: scoping.Folder = None,
    photo_size: scoping.PhotoSize = None,
    include_private: scoping.Private = None,
    _json: AsJson = False,
) -> None:
    """Change what is known of a tenant."""
    options = given_options(locals())
    call = begin(context)
    changed = {key for key in _EDITABLE if options.texts[key] is not None}
    if not changed:
        raise UsageError("Nothing to change was given.", advice="Give it like --admin-mail admin@example.com")

    def apply(facts: TenantProfile) -> TenantProfile:
        return _edited(facts, options.texts, changed)

    _change(call, name, apply)


@app.command()
def cancel(
    context: typer.Context,
    name: Name,
    *,
    ends: Annotated[
        str, typer.Option(metavar="DATE", help="The day on which it ends; may be past.", show_default=False)
    ],
    _json: AsJson = False,
) -> None:
    """Let a subscription end; every purge date moves with it."""
    call, day = begin(context), values.day(ends, "--ends")
    _change(call, name, lambda facts: facts.with_subscription(facts.subscription.cancel(day)))


@app.command()
def renew(
    context: typer.Context,
    name: Name,
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

    _change(call, name, apply)


@app.command()
def delete(
    context: typer.Context,
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Erase it; without this, only show what would go.")] = False,
    receipt: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the signed receipt here as well.")] = None,
    vacuum: erasing.Vacuum = False,
    _json: AsJson = False,
) -> int:
    """Erase a tenant with everything that is stored of it."""
    return erasing.delete_tenant(begin(context), name, yes=yes, receipt=receipt, vacuum=vacuum)


def _change(call: Call, name: str, change: Callable[[TenantProfile], TenantProfile]) -> None:
    from syncvault.vault import tenants

    with call.open_vault() as vault, audited(vault, call.command) as entry:
        tenant = living(vault, name, entry)
        updated = tenants.update(vault, tenant, change)
        write_after(entry)
        row = tenant_rows(vault, [updated])[0]
    _print_tenant(call, row)


def _edited(facts: TenantProfile, texts: Any, changed: set[str]) -> TenantProfile:
    allowed = _OF_CONNECTION[str(facts.kind)]
    foreign = sorted(changed & {key for keys in _OF_CONNECTION.values() for key in keys} - set(allowed))
    if foreign:
        raise UsageError(
            f"--{foreign[0]} does not go with a tenant of kind {facts.kind}.",
            advice=f"Such a tenant has {', '.join(f'--{key}' for key in allowed)}.",
        )
    parts: dict[str, Any] = {
        key.replace("-", "_"): _parsed(key, texts[key]) for key in changed & set(allowed) & set(_PARSERS)
    }
    if "no-proxy" in changed:
        parts["uses_proxy"] = not texts["no-proxy"]
    if "ca-bundle" in changed:
        bundle = Path(texts["ca-bundle"]) if texts["ca-bundle"] else None
        parts["ca_pem"] = registration.ca_bundle(bundle, "--ca-bundle")
    subscription = facts.subscription
    if "time-zone" in changed:
        subscription = replace(subscription, zone=values.zone(texts["time-zone"], "--time-zone"))
    plain: dict[str, Any] = {key.replace("-", "_"): _parsed(key, texts[key]) for key in changed & _PLAIN}
    connection: Any = facts.connection  # either kind: `parts` holds none but its own fields
    scope = scoping.scope_given(texts, facts.scope)
    return replace(facts, connection=replace(connection, **parts), subscription=subscription, scope=scope, **plain)


_MAY_BE_EMPTY: Final = frozenset({"billing-mail", "customer-number", "authority", "graph-url"})
_PARSERS: Final[dict[str, registration.Parser]] = {
    "admin-mail": values.address,
    "billing-mail": values.address,
    "customer-number": values.plain_text,
    "locale": lambda text, name: values.choice(text, name, values.LOCALES),
    "directory-id": values.guid,
    "client-id": values.guid,
    "cloud": lambda text, name: values.choice(text, name, values.CLOUDS),
    "authority": values.origin,
    "graph-url": values.origin,
    "ews-url": values.url,
    "username": values.account,
    "auth": lambda text, name: values.choice(text, name, values.AUTH_SCHEMES),
}
_EDITABLE: Final = (*_PARSERS, "no-proxy", "time-zone", "ca-bundle", *scoping.KEYS)


def _parsed(key: str, text: str) -> str:
    return "" if not text and key in _MAY_BE_EMPTY else _PARSERS[key](text, f"--{key}")


def _print_tenant(call: Call, row: dict[str, Any]) -> None:
    quarantine = row["quarantined"]
    lines: Sequence[tuple[str, object]] = [
        (key.replace("_", " "), ", ".join(value) if isinstance(value, list) else value)
        for key, value in row.items()
        if key != "quarantined" and value not in (None, "", [])
    ]
    if quarantine:
        lines = [*lines, ("quarantined", f"{quarantine['code']} since {quarantine['since']}\n{quarantine['advice']}")]
    output.print_object(call, row, lines)
