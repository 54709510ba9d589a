"""`syncvault credential`: what opens a tenant's Exchange; shown without the secret, checked, and replaced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from syncvault.cli import credential_in, options, output, registration, service_account
from syncvault.cli.audited import audited, write_after
from syncvault.cli.call import AsJson, TenantArgument, begin
from syncvault.cli.given import Given, given_options, refuse_two_readers
from syncvault.cli.lookup import living
from syncvault.cli.output import instant
from syncvault.errors import Exit, InputError, UsageError
from syncvault.masking import mask_address
from syncvault.vault.model import Credential, OnpremConnection, TenantKind, TenantProfile

if TYPE_CHECKING:
    from syncvault.sync.checking import Tried

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def show(context: typer.Context, tenant: TenantArgument, _json: AsJson = False) -> None:
    """Show what kind of credential there is and when it ends; never the secret."""
    from syncvault.vault import credentials

    call = begin(context)
    with call.open_vault() as vault, audited(vault, call.command) as entry:
        found = living(vault, tenant, entry)
        data = _row(found.facts, credentials.load(vault, found))
        entry.write()
    output.print_object(call, data, list(data.items()))


@app.command()
def check(context: typer.Context, tenant: TenantArgument, _json: AsJson = False) -> int:
    """Sign in once with the stored credential, and try what the tenant's sources may need."""
    from syncvault.sync import checking
    from syncvault.vault import credentials
    from syncvault.vault.content import sources

    call = begin(context)
    with call.open_vault() as vault:
        found = living(vault, tenant)
        stored = credentials.load(vault, found)
        with registration.refused_once(vault, found, stored):
            checked = checking.check(found.facts, stored, sources.listing(vault, found))
    ends = checked.identity.expires_at or stored.expires_at
    data: dict[str, Any] = {
        "tenant": tenant,
        "ok": True,
        "kind": str(stored.kind),
        "server": checked.identity.server,
        "permissions": list(checked.identity.permissions),
        "expires_at": instant(ends) if ends else None,
    }
    lines = list(data.items())
    data["features"] = [_feature(one) for one in checked.tried]
    output.print_object(call, data, [*lines, *((one.feature, _told(one)) for one in checked.tried)])
    return Exit.PARTLY if any(one.needed and not one.ok for one in checked.tried) else Exit.OK


@app.command()
def rotate(
    context: typer.Context,
    tenant: TenantArgument,
    *,
    certificate: options.Certificate = None,
    certificate_password_file: options.CertificatePassword = None,
    secret_stdin: options.SecretStdin = False,
    secret_file: options.SecretFile = None,
    secret_expires: options.SecretExpires = "",
    managed_identity: options.ManagedIdentity = False,
    identity_client_id: options.IdentityClientId = "",
    workload_identity: options.WorkloadIdentity = False,
    federated_token_file: options.FederatedTokenFile = None,
    auth: options.Auth = "",
    password_stdin: options.PasswordStdin = False,
    password_file: options.PasswordFile = None,
    keytab: options.Keytab = None,
    ccache: options.TicketCache = None,
    token_url: options.TokenUrl = "",
    client_id: options.ClientId = "",
    token_scope: options.TokenScope = "",
    _json: AsJson = False,
) -> None:
    """Replace the credential, by one of another kind too; it is tried first, and lifts a quarantine."""
    given = given_options(locals())
    from syncvault.vault import tenants

    call = begin(context)
    refuse_two_readers(call, given)
    with call.open_vault() as vault, audited(vault, call.command) as entry:
        found = living(vault, tenant, entry)
        change, fresh = _replacement(found.facts, given)
        registration.probe(change(found.facts), fresh)
        updated = tenants.update(vault, found, change, credential=fresh)
        write_after(entry)
    data = _row(updated.facts, fresh)
    output.print_object(call, data, list(data.items()))


def _replacement(facts: TenantProfile, given: Given) -> tuple[Callable[[TenantProfile], TenantProfile], Credential]:
    """The credential that was given, and what its way to sign in changes in the tenant's facts."""
    known = credential_in.KEYS[facts.kind]
    others = frozenset[str]().union(*credential_in.KEYS.values()) - known
    if foreign := next((key for key, value in given.texts.items() if key in others and value), None):
        raise UsageError(f"--{foreign} does not go with a tenant of kind {facts.kind}.", advice="See `tenant show`.")
    before = facts.connection
    if not isinstance(before, OnpremConnection):
        return lambda now: now, credential_in.credential(TenantKind.ONLINE, given)
    way = service_account.sign_in(given, before)

    def change(now: TenantProfile) -> TenantProfile:
        connection = now.connection
        return replace(now, connection=way.on(connection)) if isinstance(connection, OnpremConnection) else now

    return change, credential_in.credential(TenantKind.ONPREM, given, before)


def _feature(one: Tried) -> dict[str, Any]:
    return {
        "feature": one.feature,
        "ok": one.ok,
        "needed": one.needed,
        "needs": list(one.needs),
        "missing": list(one.missing),
        "code": one.code or None,
        "advice": one.advice or None,
    }


def _told(one: Tried) -> str:
    if one.ok:
        return "allowed; there was no mailbox to try" if one.code else "works"
    why = f"grant {one.missing[0]}" if one.missing else f"refused ({one.code})"
    told = f"{why}; the tenant's sources need it" if one.needed else f"{why}, if it is to be used"
    return f"{told}\n{one.advice}" if one.advice else told


def _row(facts: TenantProfile, credential: Credential) -> dict[str, Any]:
    """What may be shown of a credential."""
    connection = facts.connection
    account = connection if isinstance(connection, OnpremConnection) else None
    return {
        "tenant": facts.name,
        "kind": str(credential.kind),
        "auth": account.auth if account else None,
        "thumbprint": credential.thumbprint or None,
        "expires_at": instant(credential.expires_at) if credential.expires_at else None,
        "identity_client_id": credential.identity_client_id or None,
        "token_file": credential.token_file or None,
        "principal": _principal(account, credential) if account else None,
        "ccache": credential.ticket_cache or None,
        "token_url": account.token_url or None if account else None,
        "client_id": account.client_id or None if account else None,
    }


def _principal(connection: OnpremConnection, credential: Credential) -> str | None:
    """Whose keys a keytab holds, as far as it may be shown."""
    from syncvault.sync import onprem

    try:
        found = onprem.principal(connection, credential)
    except InputError:
        return None
    return mask_address(found) if found else None
