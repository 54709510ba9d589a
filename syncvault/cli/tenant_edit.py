"""`syncvault tenant edit`, and what every change of a tenant's facts has in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from syncvault.cli import options, output, registration, scoping, service_account, values
from syncvault.cli.audited import audited, write_after
from syncvault.cli.call import AsJson, Call, begin
from syncvault.cli.given import Given, Parser, given_options, one_of
from syncvault.cli.lookup import living
from syncvault.cli.rows import tenant_rows
from syncvault.errors import UsageError
from syncvault.vault.model import OnpremConnection, Tenant, TenantProfile

if TYPE_CHECKING:
    from syncvault.vault.vault import Vault

_PLAIN: Final = frozenset({"admin-mail", "billing-mail", "customer-number", "locale"})
_OF_CONNECTION: Final = {
    "online": ("directory-id", "client-id", "cloud", "authority", "graph-url", "no-proxy"),
    "onprem": ("ews-url", "autodiscover", "username", "auth", "token-url", "client-id", "token-scope"),
}
_OF_OAUTH: Final = frozenset({"token-url", "client-id", "token-scope"})


def edit(
    context: typer.Context,
    name: options.TenantName,
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
    autodiscover: options.Autodiscover = False,
    username: Annotated[str | None, typer.Option(metavar="USER", help="The service account.")] = None,
    auth: Annotated[
        str | None, typer.Option(metavar="ntlm|basic", help="How a password is offered; basic sends it as it is.")
    ] = None,
    token_url: Annotated[str | None, typer.Option(metavar="URL", help="OAuth: where tokens are given out.")] = None,
    token_scope: Annotated[
        str | None, typer.Option(metavar="TEXT", help='OAuth: what tokens are for; "" for the EWS host.')
    ] = None,
    ca_bundle: Annotated[str | None, typer.Option(metavar="FILE", help='Authorities trusted besides; "" none.')] = None,
    no_proxy: options.NoProxy = None,
    profile: scoping.Profile = None,
    folder: scoping.Folder = None,
    photo_size: scoping.PhotoSize = None,
    include_private: scoping.Private = None,
    _json: AsJson = False,
) -> None:
    """Change what is known of a tenant."""
    given = given_options(locals() | {"autodiscover": autodiscover or None})
    call = begin(context)
    changed = {key for key in _EDITABLE if given.texts[key] is not None}
    if not changed:
        raise UsageError("Nothing to change was given.", advice="Give it like --admin-mail admin@example.com")
    if {"ews-url", "autodiscover"} <= changed:
        raise UsageError("--ews-url and --autodiscover exclude each other.", advice="Give one of them.")

    def prepare(vault: Vault, tenant: Tenant) -> Change:
        wanted = _edited(tenant.facts, given.texts, changed)
        ews_url = _judged(vault, tenant, wanted, given) if changed & {"username", "autodiscover"} else ""

        def apply(facts: TenantProfile) -> TenantProfile:
            edited = _edited(facts, given.texts, changed)
            connection: Any = edited.connection
            return replace(edited, connection=replace(connection, ews_url=ews_url)) if ews_url else edited

        return apply

    change(call, name, prepare)


Change = Callable[[TenantProfile], TenantProfile]


def change(call: Call, name: str, prepare: Callable[[Vault, Tenant], Change]) -> None:
    """Changes a tenant's facts and shows them; `prepare` may look things up before anything is locked."""
    from syncvault.vault import tenants

    with call.open_vault() as vault, audited(vault, call.command) as entry:
        tenant = living(vault, name, entry)
        updated = tenants.update(vault, tenant, prepare(vault, tenant))
        write_after(entry)
        row = tenant_rows(vault, [updated])[0]
    print_tenant(call, row)


def print_tenant(call: Call, row: dict[str, Any]) -> None:
    """Shows one tenant."""
    quarantine = row["quarantined"]
    lines: Sequence[tuple[str, object]] = [
        (key.replace("_", " "), ", ".join(value) if isinstance(value, list) else value)
        for key, value in row.items()
        if key != "quarantined" and value not in (None, "", [])
    ]
    if quarantine:
        lines = [*lines, ("quarantined", f"{quarantine['code']} since {quarantine['since']}\n{quarantine['advice']}")]
    output.print_object(call, row, lines)


def _judged(vault: Vault, tenant: Tenant, wanted: TenantProfile, given: Given) -> str:
    """Holds the stored credential to the account as it shall be called; where EWS is, if that is to be found out."""
    from syncvault.sync import connect, onprem
    from syncvault.vault import credentials

    connection = wanted.connection
    if not isinstance(connection, OnpremConnection):
        return ""
    stored = credentials.load(vault, tenant)
    onprem.principal(connection, stored)
    if not given.texts["autodiscover"]:
        return ""
    service_account.domain(connection.username, given)
    with registration.refused_once(vault, tenant, stored):
        return connect.discover(connection, stored)


def _edited(facts: TenantProfile, texts: Mapping[str, Any], changed: set[str]) -> TenantProfile:
    allowed = _OF_CONNECTION[str(facts.kind)]
    foreign = sorted(changed & {key for keys in _OF_CONNECTION.values() for key in keys} - set(allowed))
    if foreign:
        raise UsageError(
            f"--{foreign[0]} does not go with a tenant of kind {facts.kind}.",
            advice=f"Such a tenant has {', '.join(f'--{key}' for key in allowed)}.",
        )
    parsers = _PARSERS | (_PARSERS_ONPREM if isinstance(facts.connection, OnpremConnection) else {})
    parts: dict[str, Any] = {
        key.replace("-", "_"): _parsed(key, texts[key], parsers) for key in changed & set(allowed) & set(parsers)
    }
    if isinstance(facts.connection, OnpremConnection):
        _require_same_credential(facts.connection.auth, parts.get("auth", facts.connection.auth), changed)
        if facts.connection.auth == "oauth" and "username" in parts:
            service_account.require_address(parts["username"], "--username")
    if "no-proxy" in changed:
        parts["uses_proxy"] = not texts["no-proxy"]
    if "ca-bundle" in changed:
        bundle = Path(texts["ca-bundle"]) if texts["ca-bundle"] else None
        parts["ca_pem"] = registration.ca_bundle(bundle, "--ca-bundle")
    subscription = facts.subscription
    if "time-zone" in changed:
        subscription = replace(subscription, zone=values.zone(texts["time-zone"], "--time-zone"))
    plain: dict[str, Any] = {key.replace("-", "_"): _parsed(key, texts[key], _PARSERS) for key in changed & _PLAIN}
    connection: Any = facts.connection  # either kind: `parts` holds none but its own fields
    scope = scoping.scope_given(texts, facts.scope)
    return replace(facts, connection=replace(connection, **parts), subscription=subscription, scope=scope, **plain)


def _require_same_credential(before: str, auth: str, changed: set[str]) -> None:
    """Another way to sign in is taken up together with what it needs, by `credential rotate`, which tries it first."""
    if service_account.WAYS[auth] != service_account.WAYS[before]:
        way = service_account.WAYS[auth][-1]
        advice = f"Run: syncvault credential rotate TENANT --auth {auth} --{way} FILE"
        raise UsageError(f"--auth {auth} needs another credential.", advice=advice)
    if before != "oauth" and (foreign := sorted(changed & _OF_OAUTH)):
        raise UsageError(
            f"--{foreign[0]} goes with a tenant that signs in by oauth.", advice="See `syncvault tenant show`."
        )


_MAY_BE_EMPTY: Final = frozenset({"billing-mail", "customer-number", "authority", "graph-url", "token-scope"})
_PARSERS: Final[dict[str, Parser]] = {
    "admin-mail": values.address,
    "billing-mail": values.address,
    "customer-number": values.plain_text,
    "locale": one_of(values.LOCALES),
    "directory-id": values.guid,
    "client-id": values.guid,
    "cloud": one_of(values.CLOUDS),
    "authority": values.origin,
    "graph-url": values.origin,
    "ews-url": values.url,
    "username": values.account,
    "auth": one_of(tuple(service_account.WAYS)),
    "token-url": values.url,
    "token-scope": values.filled_text,
}
_PARSERS_ONPREM: Final[dict[str, Parser]] = {"client-id": values.filled_text}
_EDITABLE: Final = (*_PARSERS, "autodiscover", "no-proxy", "time-zone", "ca-bundle", *scoping.KEYS)


def _parsed(key: str, text: str, parsers: Mapping[str, Parser]) -> str:
    return "" if not text and key in _MAY_BE_EMPTY else parsers[key](text, f"--{key}")
