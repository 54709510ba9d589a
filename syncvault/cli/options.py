"""Options that several commands take: who a tenant is, where its Exchange is, and what opens it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="What to call the tenant: a-z, 0-9 and -.", show_default=False)
]
TenantName = Annotated[str, typer.Argument(metavar="NAME", help="The tenant's name.", show_default=False)]
AdminMail = Annotated[str, typer.Option(metavar="ADDR", help="Who administers the tenant.", show_default=False)]
BillingMail = Annotated[str, typer.Option(metavar="ADDR", help="Where invoices go.")]
CustomerNumber = Annotated[str, typer.Option(metavar="TEXT", help="Your own number for the customer.")]
TrialUntil = Annotated[str, typer.Option(metavar="DATE", help="The day on which the trial ends.")]
PaidUntil = Annotated[str, typer.Option(metavar="DATE", help="The day on which the first paid term ends.")]
Term = Annotated[str, typer.Option(metavar="P1M|P1Y", help="By what a paid subscription rolls on. [default: P1Y]")]
TimeZone = Annotated[str, typer.Option(metavar="ZONE", help="Where the tenant's days begin. [default: UTC]")]
Locale = Annotated[str, typer.Option(metavar="de|en", help="The language of mails. [default: en]")]
NoProbe = Annotated[bool, typer.Option("--no-probe", help="Register without signing in once.")]

Cloud = Annotated[str, typer.Option(metavar="global|us-gov|us-dod|china", help="Microsoft's cloud. [default: global]")]
Authority = Annotated[str, typer.Option(metavar="URL", help="Sign in here instead; an https URL without a path.")]
GraphUrl = Annotated[str, typer.Option(metavar="URL", help="Graph is here instead; an https URL without a path.")]
NoProxy = Annotated[
    bool | None, typer.Option("--no-proxy/--proxy", help="Go past the proxy that HTTPS_PROXY names, or through it.")
]
CaBundle = Annotated[Path | None, typer.Option(metavar="FILE", help="Authorities trusted besides the system's; PEM.")]
EwsUrl = Annotated[str, typer.Option(metavar="URL", help="https://…/EWS/Exchange.asmx")]
Autodiscover = Annotated[
    bool, typer.Option("--autodiscover", help="Find that URL by the domain of the account, user@domain.")
]

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
SecretStdin = Annotated[bool, typer.Option("--secret-stdin", help="Read the client secret from standard input.")]
SecretFile = Annotated[Path | None, typer.Option(metavar="F", help="Read the client secret from a file.")]
SecretExpires = Annotated[str, typer.Option(metavar="DATE", help="When the client secret ends, as Entra shows it.")]

Auth = Annotated[
    str,
    typer.Option(
        metavar="ntlm|basic|kerberos|oauth",
        help="How the account signs in; basic sends the password itself. [default: ntlm, or what fits]",
    ),
]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
PasswordFile = Annotated[Path | None, typer.Option(metavar="F", help="Read the password from a file.")]
Keytab = Annotated[Path | None, typer.Option(metavar="FILE", help="Kerberos: the account's keys; they are stored.")]
TicketCache = Annotated[
    Path | None,
    typer.Option("--ccache", metavar="FILE", help="Kerberos: the tickets in a file that something else keeps fresh."),
]
TokenUrl = Annotated[str, typer.Option(metavar="URL", help="OAuth: where AD FS or Entra gives out tokens.")]
ClientId = Annotated[str, typer.Option(metavar="ID", help="OAuth: the application's client ID.")]
TokenScope = Annotated[
    str, typer.Option(metavar="TEXT", help="OAuth: what tokens are for. [default: the EWS host's /.default]")
]
