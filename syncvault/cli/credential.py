"""`syncvault credential`: what opens a tenant's Exchange; shown without the secret, checked, and replaced."""

from __future__ import annotations

from typing import Any

import typer

from syncvault.cli import output, registration
from syncvault.cli.audited import audited, write_after
from syncvault.cli.call import AsJson, TenantArgument, begin
from syncvault.cli.lookup import living
from syncvault.cli.output import instant
from syncvault.cli.tenant_add import (
    Certificate,
    CertificatePassword,
    PasswordFile,
    PasswordStdin,
    SecretFile,
    SecretStdin,
    given_options,
    refuse_two_readers,
)
from syncvault.errors import UsageError
from syncvault.vault.model import Credential, TenantKind

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_OF_OTHER_KIND = {
    TenantKind.ONLINE: ("password-stdin", "password-file"),
    TenantKind.ONPREM: ("certificate", "certificate-password-file", "secret-stdin", "secret-file"),
}


@app.command()
def show(context: typer.Context, tenant: TenantArgument, _json: AsJson = False) -> None:
    """Show what kind of credential there is and when it ends; never the secret."""
    from syncvault.vault import credentials

    call = begin(context)
    with call.open_vault() as vault, audited(vault, call.command) as entry:
        found = living(vault, tenant, entry)
        data = _row(tenant, credentials.load(vault, found))
        entry.write()
    output.print_object(call, data, list(data.items()))


@app.command()
def check(context: typer.Context, tenant: TenantArgument, _json: AsJson = False) -> None:
    """Sign in once with the stored credential."""
    from syncvault.vault import credentials

    call = begin(context)
    with call.open_vault() as vault:
        found = living(vault, tenant)
        stored = credentials.load(vault, found)
        identity = registration.probe(found.facts, stored)
    ends = identity.expires_at or stored.expires_at
    data: dict[str, Any] = {
        "tenant": tenant,
        "ok": True,
        "server": identity.server,
        "permissions": list(identity.permissions),
        "expires_at": instant(ends) if ends else None,
    }
    output.print_object(call, data, list(data.items()))


@app.command()
def rotate(
    context: typer.Context,
    tenant: TenantArgument,
    *,
    certificate: Certificate = None,
    certificate_password_file: CertificatePassword = None,
    secret_stdin: SecretStdin = False,
    secret_file: SecretFile = None,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    _json: AsJson = False,
) -> None:
    """Replace the credential by one that was tried first; this lifts a quarantine."""
    given = given_options(locals())
    from syncvault.vault import credentials

    call = begin(context)
    refuse_two_readers(call, given)
    with call.open_vault() as vault, audited(vault, call.command) as entry:
        found = living(vault, tenant, entry)
        kind = found.facts.kind
        if foreign := next((key for key in _OF_OTHER_KIND[kind] if given.texts.get(key)), None):
            raise UsageError(f"--{foreign} does not go with a tenant of kind {kind}.", advice="See `tenant show`.")
        fresh = registration.credential(kind, given)
        registration.probe(found.facts, fresh)
        credentials.replace(vault, found, fresh)
        write_after(entry)
    data = _row(tenant, fresh)
    output.print_object(call, data, list(data.items()))


def _row(tenant: str, credential: Credential) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "kind": str(credential.kind),
        "thumbprint": credential.thumbprint or None,
        "expires_at": instant(credential.expires_at) if credential.expires_at else None,
    }
