"""`syncvault credential`: what opens a tenant's Exchange; shown without the secret, checked, and replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import typer

from syncvault.cli import credential_in, output, registration
from syncvault.cli.audited import audited, write_after
from syncvault.cli.call import AsJson, TenantArgument, begin
from syncvault.cli.lookup import living
from syncvault.cli.output import instant
from syncvault.cli.tenant_add import (
    Certificate,
    CertificatePassword,
    FederatedTokenFile,
    IdentityClientId,
    ManagedIdentity,
    PasswordFile,
    PasswordStdin,
    SecretExpires,
    SecretFile,
    SecretStdin,
    WorkloadIdentity,
    given_options,
    refuse_two_readers,
)
from syncvault.errors import Exit, UsageError
from syncvault.vault.model import Credential, TenantKind

if TYPE_CHECKING:
    from connectors.graph.permissions import FeatureCheck

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_OF_OTHER_KIND: Final = {
    TenantKind.ONLINE: credential_in.WAYS[TenantKind.ONPREM],
    TenantKind.ONPREM: (*credential_in.WAYS[TenantKind.ONLINE], *credential_in.FURTHER, credential_in.EXPIRES),
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
def check(context: typer.Context, tenant: TenantArgument, _json: AsJson = False) -> int:
    """Sign in once with the stored credential, and try what the tenant's sources may need."""
    from syncvault.sync import connect
    from syncvault.vault import credentials
    from syncvault.vault.content import sources

    call = begin(context)
    with call.open_vault() as vault:
        found = living(vault, tenant)
        stored = credentials.load(vault, found)
        registered = sources.listing(vault, found)
        users, groups = ([one.ref for one in registered if one.kind == kind] for kind in ("user", "group"))
        checked = connect.check(found.facts, stored, users=users, groups=groups)
    ends = checked.identity.expires_at or stored.expires_at
    needed = connect.needed_features(found.facts.scope, registered)
    data: dict[str, Any] = {
        "tenant": tenant,
        "ok": True,
        "kind": str(stored.kind),
        "server": checked.identity.server,
        "permissions": list(checked.identity.permissions),
        "expires_at": instant(ends) if ends else None,
    }
    lines = list(data.items())
    data["features"] = [_feature(one, is_needed=one.feature in needed) for one in checked.features]
    output.print_object(call, data, [*lines, *((one["feature"], _told(one)) for one in data["features"])])
    return Exit.PARTLY if any(one["needed"] and not one["ok"] for one in data["features"]) else Exit.OK


@app.command()
def rotate(
    context: typer.Context,
    tenant: TenantArgument,
    *,
    certificate: Certificate = None,
    certificate_password_file: CertificatePassword = None,
    secret_stdin: SecretStdin = False,
    secret_file: SecretFile = None,
    secret_expires: SecretExpires = "",
    managed_identity: ManagedIdentity = False,
    identity_client_id: IdentityClientId = "",
    workload_identity: WorkloadIdentity = False,
    federated_token_file: FederatedTokenFile = None,
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
        fresh = credential_in.credential(kind, given)
        registration.probe(found.facts, fresh)
        credentials.replace(vault, found, fresh)
        write_after(entry)
    data = _row(tenant, fresh)
    output.print_object(call, data, list(data.items()))


def _feature(one: FeatureCheck, *, is_needed: bool) -> dict[str, Any]:
    return {
        "feature": str(one.feature),
        "ok": one.ok,
        "needed": is_needed,
        "needs": list(one.needs),
        "missing": list(one.missing),
        "code": one.code or None,
    }


def _told(one: dict[str, Any]) -> str:
    if one["ok"]:
        return "works" if one["code"] is None else "allowed; there was no mailbox to try"
    why = f"grant {one['missing'][0]}" if one["missing"] else f"refused ({one['code']})"
    return f"{why}; the tenant's sources need it" if one["needed"] else f"{why}, if it is to be used"


def _row(tenant: str, credential: Credential) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "kind": str(credential.kind),
        "thumbprint": credential.thumbprint or None,
        "expires_at": instant(credential.expires_at) if credential.expires_at else None,
        "identity_client_id": credential.identity_client_id or None,
        "token_file": credential.token_file or None,
    }
