"""What opens a tenant's Exchange, from options or an import file: a file, standard input, a prompt, or a name.

Identities have no secret: of a managed identity its client ID is taken, of a workload identity where its token lies.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Final

from syncvault.cli import secrets_in, values
from syncvault.cli.registration import Given
from syncvault.errors import UsageError
from syncvault.secret import Secret
from syncvault.vault.model import Credential, CredentialKind, TenantKind

WAYS: Final = {
    TenantKind.ONLINE: ("secret-stdin", "secret-file", "certificate", "managed-identity", "workload-identity"),
    TenantKind.ONPREM: ("password-stdin", "password-file"),
}
FURTHER: Final = {  # options that say more about one way
    "certificate-password-file": "certificate",
    "identity-client-id": "managed-identity",
    "federated-token-file": "workload-identity",
}
EXPIRES: Final = "secret-expires"
TOKEN_FILE_VARIABLE: Final = "AZURE_FEDERATED_TOKEN_FILE"  # noqa: S105  (the name of a variable that names a file)
_STDIN_OR_FILE: Final = ("secret-stdin", "secret-file", "password-stdin", "password-file")


def credential(kind: TenantKind, given: Given) -> Credential:
    """The credential of a tenant; a secret is asked for where no other way was chosen.

    Raises:
        UsageError: None or several were given, or a file is missing.
        InputError: It is empty, not what it should be, or out of date.
    """
    ways = WAYS[kind]
    chosen = [way for way in ways if given.texts.get(way)]
    options = " or ".join(given.label(way) for way in ways)
    if len(chosen) > 1:
        raise UsageError("The credential was given twice.", advice=f"Give one of {options}.")
    way = chosen[0] if chosen else ""
    for option, its_way in FURTHER.items():
        if given.texts.get(option) and way != its_way:
            raise _goes_with(given, option, its_way)
    if given.texts.get(EXPIRES) and way not in {"", "secret-stdin", "secret-file"}:
        raise _goes_with(given, EXPIRES, "secret-file")
    if way == "certificate":
        return _certificate(Path(given.texts[way]), given)
    if way == "managed-identity":
        client_id = given.optional("identity-client-id", values.guid)
        return Credential(CredentialKind.MANAGED_IDENTITY, Secret(b""), identity_client_id=client_id)
    if way == "workload-identity":
        return Credential(CredentialKind.WORKLOAD_IDENTITY, Secret(b""), token_file=_token_file(given))
    stored = CredentialKind.SECRET if kind is TenantKind.ONLINE else CredentialKind.PASSWORD
    expires_at = _ends(given)  # looked at before anybody types
    return replace(Credential(stored, _secret(kind, way, given, options)), expires_at=expires_at)


def _secret(kind: TenantKind, way: str, given: Given, options: str) -> Secret:
    if way.endswith("-stdin"):
        return secrets_in.secret_from_stdin(given.label(way))
    if way:
        return secrets_in.secret_from_file(Path(given.texts[way]), given.label(way))
    if not secrets_in.can_ask():
        raise UsageError("No credential was given.", advice=f"Give it by {options}.")
    question = "Client secret" if kind is TenantKind.ONLINE else "Password of the service account"
    return secrets_in.prompt(question, "the prompt")


def _goes_with(given: Given, option: str, way: str) -> UsageError:
    example = values.EXAMPLES.get(f"--{way}", "")
    advice = f"Give it together with {given.label(way)} {example}".rstrip()
    return UsageError(f"{given.label(option)} goes with {given.label(way)}.", advice=advice)


def _ends(given: Given) -> datetime | None:
    """The instant at which the secret's last day begins; Entra names the day alone, in nobody's time zone."""
    if not given.texts.get(EXPIRES):
        return None
    return datetime.combine(values.day(str(given.texts[EXPIRES]), given.label(EXPIRES)), time(), UTC)


def _token_file(given: Given) -> str:
    named = given.texts.get("federated-token-file") or os.environ.get(TOKEN_FILE_VARIABLE)
    if not named:
        raise UsageError(
            "Nothing says where the workload's token lies.",
            advice=f"Give {given.label('federated-token-file')}, or set {TOKEN_FILE_VARIABLE}.",
        )
    return values.plain_text(str(Path(named).absolute()), given.label("federated-token-file"))


def _certificate(path: Path, given: Given) -> Credential:
    from syncvault.sync.connect import CertificatePasswordError, read_certificate

    content = secrets_in.read_file(path, given.label("certificate"), limit=secrets_in.SECRET_LIMIT)
    password_file = given.path("certificate-password-file")
    password = None
    if password_file is not None:
        password = secrets_in.secret_from_file(password_file, given.label("certificate-password-file")).reveal()
    try:
        return read_certificate(content, password)
    except CertificatePasswordError:
        if password is not None or not secrets_in.can_ask():
            raise
        return read_certificate(content, secrets_in.prompt("Password of the certificate", "the prompt").reveal())
