"""What opens a tenant's Exchange, from options or an import file: a file, standard input, a prompt, or a name.

Identities and ticket caches have no secret that is kept: of a managed identity its client ID is taken, of a workload
identity and a ticket cache where they lie.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Final

from syncvault.cli import secrets_in, service_account, values
from syncvault.cli.given import Given
from syncvault.errors import UsageError
from syncvault.secret import Secret
from syncvault.vault.model import Credential, CredentialKind, OnpremConnection, TenantKind

_ONLINE: Final = ("secret-stdin", "secret-file", "certificate", "managed-identity", "workload-identity")
_FURTHER: Final = {  # options that say more about one way
    "certificate-password-file": "certificate",
    "identity-client-id": "managed-identity",
    "federated-token-file": "workload-identity",
}
_EXPIRES: Final = "secret-expires"
KEYS: Final = {  # of a kind of tenant, whatever says what opens it
    TenantKind.ONLINE: frozenset({*_ONLINE, *_FURTHER, _EXPIRES}),
    TenantKind.ONPREM: service_account.KEYS,
}
TOKEN_FILE_VARIABLE: Final = "AZURE_FEDERATED_TOKEN_FILE"  # noqa: S105  (the name of a variable that names a file)


def credential(kind: TenantKind, given: Given, before: OnpremConnection | None = None) -> Credential:
    """The credential of a tenant; a secret is asked for where no other way was chosen.

    Args:
        kind: Of the tenant.
        given: What was given.
        before: How its service account has signed in so far, if it is registered.

    Raises:
        UsageError: None or several were given, or a file is missing.
        InputError: It is empty, not what it should be, or out of date.
    """
    ways = ways_of(kind, given, before)
    chosen = [way for way in ways if given.texts.get(way)]
    options = " or ".join(given.name(way) for way in ways)
    if len(chosen) > 1:
        raise UsageError("The credential was given twice.", advice=f"Give one of {options}.")
    way = chosen[0] if chosen else ""
    for option, its_way in _FURTHER.items():
        if given.texts.get(option) and way != its_way:
            raise _goes_with(given, option, its_way)
    if given.texts.get(_EXPIRES) and way not in {"", "secret-stdin", "secret-file"}:
        raise _goes_with(given, _EXPIRES, "secret-file")
    if way in _READERS:
        return _READERS[way](given)
    stored = CredentialKind.SECRET if "secret-file" in ways else CredentialKind.PASSWORD
    expires_at = _ends(given)  # looked at before anybody types
    return replace(Credential(stored, _secret(stored, way, given, options)), expires_at=expires_at)


def ways_of(kind: TenantKind, given: Given, before: OnpremConnection | None = None) -> tuple[str, ...]:
    """The options of which one may give the credential."""
    return _ONLINE if kind is TenantKind.ONLINE else service_account.ways(given, before)


def _secret(stored: CredentialKind, way: str, given: Given, options: str) -> Secret:
    if way.endswith("-stdin"):
        return secrets_in.secret_from_stdin(given.label(way))
    if way:
        return secrets_in.secret_from_file(Path(given.texts[way]), given.label(way))
    if not secrets_in.can_ask():
        raise UsageError("No credential was given.", advice=f"Give it by {options}.")
    question = "Client secret" if stored is CredentialKind.SECRET else "Password of the service account"
    return secrets_in.prompt(question, "the prompt")


def _goes_with(given: Given, option: str, way: str) -> UsageError:
    example = values.EXAMPLES.get(f"--{way}", "")
    advice = f"Give it together with {given.name(way)} {example}".rstrip()
    return UsageError(f"{given.label(option)} goes with {given.name(way)}.", advice=advice)


def _ends(given: Given) -> datetime | None:
    """The instant at which the secret's last day begins; Entra names the day alone, in nobody's time zone."""
    if not given.texts.get(_EXPIRES):
        return None
    return datetime.combine(values.day(str(given.texts[_EXPIRES]), given.label(_EXPIRES)), time(), UTC)


def _managed_identity(given: Given) -> Credential:
    client_id = given.optional("identity-client-id", values.guid)
    return Credential(CredentialKind.MANAGED_IDENTITY, Secret(b""), identity_client_id=client_id)


def _workload_identity(given: Given) -> Credential:
    named = given.texts.get("federated-token-file") or os.environ.get(TOKEN_FILE_VARIABLE)
    if not named:
        raise UsageError(
            "Nothing says where the workload's token lies.",
            advice=f"Give {given.name('federated-token-file')}, or set {TOKEN_FILE_VARIABLE}.",
        )
    place = _place(Path(named), given.label("federated-token-file"))
    return Credential(CredentialKind.WORKLOAD_IDENTITY, Secret(b""), token_file=place)


def _keytab(given: Given) -> Credential:
    from syncvault.sync.onprem import read_keytab

    return read_keytab(*_content(given, "keytab", limit=secrets_in.SECRET_LIMIT))


def _ticket_cache(given: Given) -> Credential:
    from syncvault.sync.onprem import read_ticket_cache

    content, name = _content(given, "ccache")
    return read_ticket_cache(content, _place(Path(given.texts["ccache"]), name), name)


def _certificate(given: Given) -> Credential:
    from syncvault.sync.connect import CertificatePasswordError, read_certificate

    content, _ = _content(given, "certificate", limit=secrets_in.SECRET_LIMIT)
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


def _content(given: Given, key: str, *, limit: int = secrets_in.FILE_LIMIT) -> tuple[bytes, str]:
    """The content of the file that a value names, and how a refusal calls it."""
    name = given.label(key)
    return secrets_in.read_file(Path(given.texts[key]), name, limit=limit), name


def _place(path: Path, name: str) -> str:
    return values.plain_text(str(path.absolute()), name)


_READERS: Final[dict[str, Callable[[Given], Credential]]] = {
    "certificate": _certificate,
    "managed-identity": _managed_identity,
    "workload-identity": _workload_identity,
    "keytab": _keytab,
    "ccache": _ticket_cache,
}
