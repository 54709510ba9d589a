"""`syncvault tenant add-online`, `add-onprem` and `import`: everything is checked before anything is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from syncvault.cli import credential_in, options, output, registration, scoping
from syncvault.cli.audited import audited, write_after
from syncvault.cli.call import AsJson, Call, begin
from syncvault.cli.given import given_options, refuse_two_readers
from syncvault.cli.rows import tenant_rows
from syncvault.cli.tenant_import import read_import
from syncvault.cli.terminal import note, shown
from syncvault.errors import Exit, SyncvaultError
from syncvault.vault.model import Credential, TenantKind, TenantProfile


def add_online(
    context: typer.Context,
    name: options.Name,
    *,
    directory_id: Annotated[str, typer.Option(metavar="GUID", help="Entra directory ID.", show_default=False)],
    client_id: Annotated[str, typer.Option(metavar="GUID", help="Application (client) ID.", show_default=False)],
    admin_mail: options.AdminMail,
    certificate: options.Certificate = None,
    certificate_password_file: options.CertificatePassword = None,
    secret_stdin: options.SecretStdin = False,
    secret_file: options.SecretFile = None,
    secret_expires: options.SecretExpires = "",
    managed_identity: options.ManagedIdentity = False,
    identity_client_id: options.IdentityClientId = "",
    workload_identity: options.WorkloadIdentity = False,
    federated_token_file: options.FederatedTokenFile = None,
    billing_mail: options.BillingMail = "",
    customer_number: options.CustomerNumber = "",
    cloud: options.Cloud = "",
    authority: options.Authority = "",
    graph_url: options.GraphUrl = "",
    no_proxy: options.NoProxy = None,
    trial_until: options.TrialUntil = "",
    paid_until: options.PaidUntil = "",
    term: options.Term = "",
    time_zone: options.TimeZone = "",
    locale: options.Locale = "",
    profile: scoping.Profile = None,
    folder: scoping.Folder = None,
    photo_size: scoping.PhotoSize = None,
    include_private: scoping.Private = None,
    ca_bundle: options.CaBundle = None,
    no_probe: options.NoProbe = False,
    _json: AsJson = False,
) -> None:
    """Register a tenant of Exchange Online."""
    _add(begin(context), TenantKind.ONLINE, locals())


def add_onprem(
    context: typer.Context,
    name: options.Name,
    *,
    ews_url: options.EwsUrl = "",
    autodiscover: options.Autodiscover = False,
    username: Annotated[
        str,
        typer.Option(metavar="USER", help="The service account, as DOMAIN\\user or user@domain.", show_default=False),
    ],
    admin_mail: options.AdminMail,
    auth: options.Auth = "",
    password_stdin: options.PasswordStdin = False,
    password_file: options.PasswordFile = None,
    keytab: options.Keytab = None,
    ccache: options.TicketCache = None,
    token_url: options.TokenUrl = "",
    client_id: options.ClientId = "",
    token_scope: options.TokenScope = "",
    secret_stdin: options.SecretStdin = False,
    secret_file: options.SecretFile = None,
    secret_expires: options.SecretExpires = "",
    billing_mail: options.BillingMail = "",
    customer_number: options.CustomerNumber = "",
    trial_until: options.TrialUntil = "",
    paid_until: options.PaidUntil = "",
    term: options.Term = "",
    time_zone: options.TimeZone = "",
    locale: options.Locale = "",
    profile: scoping.Profile = None,
    folder: scoping.Folder = None,
    photo_size: scoping.PhotoSize = None,
    include_private: scoping.Private = None,
    ca_bundle: options.CaBundle = None,
    no_probe: options.NoProbe = False,
    _json: AsJson = False,
) -> None:
    """Register a tenant with Exchange of its own."""
    _add(begin(context), TenantKind.ONPREM, locals())


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="TOML with one [[tenant]] table each.")],
    _json: AsJson = False,
) -> int:
    """Register many tenants from a TOML file; its keys are named as the options of add-online and add-onprem are."""
    from syncvault.vault import tenants

    call = begin(context)
    candidates = read_import(file)
    results: list[dict[str, Any]] = []
    with call.open_vault() as vault:
        for candidate in candidates:
            registration.require_free_name(vault, candidate.profile.name)
        for candidate in candidates:
            result: dict[str, Any] = {
                "tenant": candidate.profile.name,
                "status": "registered",
                "id": None,
                "error": None,
            }
            try:
                with audited(vault, call.command) as entry:
                    facts = registration.settled(candidate.profile, candidate.credential)
                    if candidate.wants_probe:
                        registration.probe(facts, candidate.credential)
                    tenant = tenants.register(vault, facts, candidate.credential)
                    entry.tenant_id = tenant.id
                result["id"] = tenant_rows(vault, [tenant])[0]["id"]
            except SyncvaultError as error:
                failure = {"code": error.code, "message": error.message, "advice": error.advice}
                result |= {"status": "failed", "error": failure}
                note(f"{candidate.profile.name}: {shown(error.message)}\n  {shown(error.advice)}")
            results.append(result)
    columns = [output.Column("tenant", "tenant"), output.Column("status", "status"), output.Column("id", "id")]
    output.print_items(call, results, columns, none="The file names no tenant.")
    failed = sum(result["status"] == "failed" for result in results)
    if not failed:
        return Exit.OK
    return Exit.FAILED if failed == len(results) else Exit.PARTLY


def _add(call: Call, kind: TenantKind, values: dict[str, Any]) -> None:
    from syncvault.vault import tenants

    given = given_options(values)
    refuse_two_readers(call, given)
    facts = registration.profile(kind, given)
    opened_by = credential_in.credential(kind, given)
    with call.open_vault() as vault, audited(vault, call.command) as entry:
        registration.require_free_name(vault, facts.name)
        facts = registration.settled(facts, opened_by)
        if not given.texts["no-probe"]:
            _probe(facts, opened_by)
        tenant = tenants.register(vault, facts, opened_by)
        entry.tenant_id = tenant.id
        write_after(entry)
        row = tenant_rows(vault, [tenant])[0]
    lines: list[tuple[str, object]] = [("registered", facts.name), ("id", row["id"]), ("ends on", row["ends_on"])]
    output.print_object(call, row, [*lines, ("purge on", row["purge_on"])])
    if row["state"] == "expired":
        note("Its cover has ended: it is kept until the purge date and never pulled.")


def _probe(facts: TenantProfile, opened_by: Credential) -> None:
    identity = registration.probe(facts, opened_by)
    note(f"Signed in at {shown(identity.server)}.")
