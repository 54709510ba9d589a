"""A tenant's own Exchange: from an administrator's files and the tenant's facts to what signs in there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectors.ews.sign_in.kerberos_files import (
    KerberosFileError,
    cache_principal,
    keytab_principals,
    principal_of,
)
from syncvault.errors import InputError, UsageError
from syncvault.secret import Secret
from syncvault.vault.model import Credential, CredentialKind, OnpremConnection

if TYPE_CHECKING:
    from connectors.ews import EwsCredential, EwsSettings


def read_keytab(content: bytes, name: str) -> Credential:
    """A keytab as a credential.

    Args:
        content: Of the file.
        name: What it was given for.

    Raises:
        UsageError: It is no keytab, or an empty one.
    """
    if not _principals(content):
        raise UsageError(f"The file given for {name} is no keytab with keys.", advice="Look at it with: klist -k FILE")
    return Credential(CredentialKind.KEYTAB, Secret(content))


def read_ticket_cache(content: bytes, path: str, name: str) -> Credential:
    """A ticket cache as a credential: where it lies, and nothing that is in it.

    Args:
        content: Of the file.
        path: The file, from the root directory.
        name: What it was given for.

    Raises:
        UsageError: It is no ticket cache.
    """
    try:
        cache_principal(content)
    except KerberosFileError:
        advice = "Look at it with: klist -c FILE"
        raise UsageError(f"The file given for {name} is no Kerberos ticket cache.", advice=advice) from None
    return Credential(CredentialKind.TICKET_CACHE, Secret(b""), ticket_cache=path)


def principal(connection: OnpremConnection, credential: Credential) -> str:
    """Which of a keytab's principals the service account is; empty where the credential is no keytab.

    Raises:
        InputError: The keytab has no key of the account.
    """
    if credential.kind is not CredentialKind.KEYTAB:
        return ""
    found = principal_of(connection.username, _principals(credential.secret.reveal()))
    if not found:
        raise InputError(
            "The keytab has no key of the service account.",
            advice="Give the principal that `klist -k FILE` shows: --username svc-contacts@EXAMPLE.COM",
        )
    return found


def settings(connection: OnpremConnection, credential: Credential) -> EwsSettings:
    """What the adapter has to know of a tenant."""
    from connectors import ews  # noqa: PLC0415  (lazy)

    return ews.EwsSettings(
        ews_url=connection.ews_url,
        username=connection.username,
        credential=_credential(connection, credential),
        ca_pem=connection.ca_pem,
    )


def _credential(connection: OnpremConnection, credential: Credential) -> EwsCredential:
    from connectors import ews  # noqa: PLC0415  (lazy)

    secret = credential.secret.reveal()
    if credential.kind is CredentialKind.KEYTAB:
        return ews.Keytab(secret)
    if credential.kind is CredentialKind.TICKET_CACHE:
        return ews.TicketCache(credential.ticket_cache)
    if credential.kind is CredentialKind.SECRET:
        return ews.OAuthClient(connection.token_url, connection.client_id, secret, connection.token_scope)
    return ews.Password(secret, "basic" if connection.auth == "basic" else "ntlm")


def _principals(content: bytes) -> tuple[str, ...]:
    try:
        return keytab_principals(content)
    except KerberosFileError:
        return ()
