"""`syncvault tenant add-online`, `add-onprem` and `import`: everything is checked before anything is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from syncvault.cli import credential_in, output, registration, scoping
from syncvault.cli.audited import audited, write_after
from syncvault.cli.call import AsJson, Call, begin
from syncvault.cli.registration import Given
from syncvault.cli.rows import tenant_rows
from syncvault.cli.tenant_import import read_import
from syncvault.cli.terminal import note, shown
from syncvault.config import STDIN
from syncvault.errors import Exit, SyncvaultError, UsageError
from syncvault.vault.model import Credential, TenantKind, TenantProfile

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="What to call the tenant: a-z, 0-9 and -.", show_default=False)
]
AdminMail = Annotated[str, typer.Option(metavar="ADDR", help="Who administers the tenant.", show_default=False)]
BillingMail = Annotated[str, typer.Option(metavar="ADDR", help="Where invoices go.")]
CustomerNumber = Annotated[str, typer.Option(metavar="TEXT", help="Your own number for the customer.")]
TrialUntil = Annotated[str, typer.Option(metavar="DATE", help="The day on which the trial ends.")]
PaidUntil = Annotated[str, typer.Option(metavar="DATE", help="The day on which the first paid term ends.")]
Term = Annotated[str, typer.Option(metavar="P1M|P1Y", help="By what a paid subscription rolls on. [default: P1Y]")]
TimeZone = Annotated[str, typer.Option(metavar="ZONE", help="Where the tenant's days begin. [default: UTC]")]
Locale = Annotated[str, typer.Option(metavar="de|en", help="The language of mails. [default: en]")]
CaBundle = Annotated[Path | None, typer.Option(metavar="FILE", help="Authorities trusted besides the system's; PEM.")]
NoProxy = Annotated[
    bool | None, typer.Option("--no-proxy/--proxy", help="Go past the proxy that HTTPS_PROXY names, or through it.")
]
NoProbe = Annotated[bool, typer.Option("--no-probe", help="Register without signing in once.")]
Cloud = Annotated[str, typer.Option(metavar="global|us-gov|us-dod|china", help="Microsoft's cloud. [default: global]")]
Authority = Annotated[str, typer.Option(metavar="URL", help="Sign in here instead; an https URL without a path.")]
GraphUrl = Annotated[str, typer.Option(metavar="URL", help="Graph is here instead; an https URL without a path.")]
Auth = Annotated[str, typer.Option(metavar="ntlm|basic", help="How the account signs in. [default: ntlm]")]
Certificate = Annotated[Path | None, typer.Option(metavar="FILE", help="PFX, or PEM with key and certificate.")]
CertificatePassword = Annotated[Path | None, typer.Option(metavar="F", help="What opens the certificate's file.")]
ManagedIdentity = Annotated[bool, typer.Option("--managed-identity", help="Sign in as the Azure machine this runs on.")]
IdentityClientId = Annotated[str, typer.Option(metavar="GUID", help="Which of the machine's identities, by client ID.")]
WorkloadIdentity = Annotated[
    bool, typer.Option("--workload-identity", help="Sign in with the token that the platform writes to a file.")
]
FederatedTokenFile = Annotated[
    Path | None, typer.Option(metavar="F", help="That file. [default: AZURE_FEDERATED_TOKEN_FILE]")
]
SecretExpires = Annotated[str, typer.Option(metavar="DATE", help="When the client secret ends, as Entra shows it.")]
SecretStdin = Annotated[bool, typer.Option("--secret-stdin", help="Read the client secret from standard input.")]
SecretFile = Annotated[Path | None, typer.Option(metavar="F", help="Read the client secret from a file.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
PasswordFile = Annotated[Path | None, typer.Option(metavar="F", help="Read the password from a file.")]


def add_online(
    context: typer.Context,
    name: Name,
    *,
    directory_id: Annotated[str, typer.Option(metavar="GUID", help="Entra directory ID.", show_default=False)],
    client_id: Annotated[str, typer.Option(metavar="GUID", help="Application (client) ID.", show_default=False)],
    admin_mail: AdminMail,
    certificate: Certificate = None,
    certificate_password_file: CertificatePassword = None,
    secret_stdin: SecretStdin = False,
    secret_file: SecretFile = None,
    secret_expires: SecretExpires = "",
    managed_identity: ManagedIdentity = False,
    identity_client_id: IdentityClientId = "",
    workload_identity: WorkloadIdentity = False,
    federated_token_file: FederatedTokenFile = None,
    billing_mail: BillingMail = "",
    customer_number: CustomerNumber = "",
    cloud: Cloud = "",
    authority: Authority = "",
    graph_url: GraphUrl = "",
    no_proxy: NoProxy = None,
    trial_until: TrialUntil = "",
    paid_until: PaidUntil = "",
    term: Term = "",
    time_zone: TimeZone = "",
    locale: Locale = "",
    profile: scoping.Profile = None,
    folder: scoping.Folder = None,
    photo_size: scoping.PhotoSize = None,
    include_private: scoping.Private = None,
    ca_bundle: CaBundle = None,
    no_probe: NoProbe = False,
    _json: AsJson = False,
) -> None:
    """Register a tenant of Exchange Online."""
    _add(begin(context), TenantKind.ONLINE, locals())


def add_onprem(
    context: typer.Context,
    name: Name,
    *,
    ews_url: Annotated[str, typer.Option(metavar="URL", help="https://…/EWS/Exchange.asmx", show_default=False)],
    username: Annotated[str, typer.Option(metavar="USER", help="The service account.", show_default=False)],
    admin_mail: AdminMail,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    auth: Auth = "",
    billing_mail: BillingMail = "",
    customer_number: CustomerNumber = "",
    trial_until: TrialUntil = "",
    paid_until: PaidUntil = "",
    term: Term = "",
    time_zone: TimeZone = "",
    locale: Locale = "",
    profile: scoping.Profile = None,
    folder: scoping.Folder = None,
    photo_size: scoping.PhotoSize = None,
    include_private: scoping.Private = None,
    ca_bundle: CaBundle = None,
    no_probe: NoProbe = False,
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
                    if candidate.wants_probe:
                        registration.probe(candidate.profile, candidate.credential)
                    tenant = tenants.register(vault, candidate.profile, candidate.credential)
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


def given_options(options: dict[str, Any]) -> Given:
    """The options of a command as values by their names."""
    return Given({name.replace("_", "-"): value for name, value in options.items()})


def refuse_two_readers(call: Call, given: Given) -> None:
    """Standard input can serve one purpose only."""
    stdin_wanted = [given.label(key) for key in ("secret-stdin", "password-stdin") if given.texts.get(key)]
    keys = ("secret-file", "password-file", "certificate-password-file")
    stdin_wanted += [given.label(key) for key in keys if given.texts.get(key) == STDIN]
    stdin_wanted += ["--passphrase-file"] if call.settings.passphrase_file == STDIN else []
    if len(stdin_wanted) > 1:
        raise UsageError(
            f"Standard input cannot serve both {stdin_wanted[0]} and {stdin_wanted[1]}.",
            advice="Give one of them by a file.",
        )


def _add(call: Call, kind: TenantKind, options: dict[str, Any]) -> None:
    from syncvault.vault import tenants

    given = given_options(options)
    refuse_two_readers(call, given)
    facts = registration.profile(kind, given)
    opened_by = credential_in.credential(kind, given)
    with call.open_vault() as vault, audited(vault, call.command) as entry:
        registration.require_free_name(vault, facts.name)
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
