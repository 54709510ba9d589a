"""From an administrator's files and a tenant's facts to a connector that speaks with the tenant's Exchange."""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING, ClassVar

from connectors.port import Connector, ConnectorError, CredentialRejected, Identity
from connectors.selection import Selection
from connectors.throttle import Sleep
from syncvault.errors import InputError, SyncvaultError
from syncvault.secret import Secret
from syncvault.sync import onprem
from syncvault.sync.scope import selection_of
from syncvault.vault.model import Credential, CredentialKind, OnlineConnection, OnpremConnection, TenantProfile

if TYPE_CHECKING:
    from connectors.graph import GraphCredential, GraphSettings


class ExchangeError(SyncvaultError):
    """Exchange, or what stands before it, refused or failed; `code` is its own word for it.

    `refuses_credential` tells whether it was the credential itself that was refused.
    """

    code: ClassVar[str] = "exchange"

    def __init__(self, failure: ConnectorError) -> None:
        said = failure.message
        super().__init__(said if failure.code in said else f"{said} ({failure.code})", advice=failure.advice)
        self.refuses_credential = isinstance(failure, CredentialRejected)
        self.code = failure.code  # type: ignore[misc]  # the server's code, where others have one per class


class CertificatePasswordError(InputError):
    """The password does not open the certificate's file, or one is needed and none was given."""


def read_certificate(content: bytes, password: bytes | None) -> Credential:
    """A certificate with its private key, from a PFX or PEM file's content.

    Raises:
        CertificatePasswordError: The password is wrong or missing.
        InputError: It is something else, has ended, or does not go with the key.
    """
    from connectors.graph.sign_in.credentials import (  # noqa: PLC0415  (lazy)
        CertificateError,
        WrongPasswordError,
        load_certificate,
    )

    try:
        loaded = load_certificate(content, password)
    except CertificateError as error:
        refusal = CertificatePasswordError if isinstance(error, WrongPasswordError) else InputError
        raise refusal(str(error), advice="Give a PFX, or a PEM with the private key and its certificate.") from None
    return Credential(
        CredentialKind.CERTIFICATE,
        Secret(loaded.private_key_pem),
        certificate_pem=loaded.certificate_pem.decode("ascii"),
        thumbprint=loaded.thumbprint,
        expires_at=loaded.not_after,
    )


def are_authorities(pem: str) -> bool:
    """Whether these certificates can serve as authorities to trust."""
    from connectors.trust import tls_context  # noqa: PLC0415  (lazy: loads requests)

    try:
        tls_context(pem)
    except (ssl.SSLError, ValueError):
        return False
    return bool(pem)


def connect(profile: TenantProfile, credential: Credential, *, sleep: Sleep = time.sleep) -> Connector:
    """The connector for a tenant; nothing is sent before its first use. `sleep` waits, and may end that by raising."""
    selection = selection_of(profile.scope)
    if isinstance(profile.connection, OnlineConnection):
        return _online(profile.connection, credential, selection, sleep)
    return _onprem(profile.connection, credential, selection, sleep)


def probe(profile: TenantProfile, credential: Credential) -> Identity:
    """Signs in once and says whom the server took us for.

    Raises:
        ExchangeError: It was refused, or there was nobody to ask.
    """
    connector = connect(profile, credential)
    try:
        return connector.probe()
    except ConnectorError as failure:
        raise ExchangeError(failure) from failure
    finally:
        connector.close()


def discover(connection: OnpremConnection, credential: Credential) -> str:
    """The address of EWS, as autodiscover names it for the service account; signs in once.

    Raises:
        ExchangeError: It was refused, or there was nobody to ask.
    """
    from connectors import ews  # noqa: PLC0415  (lazy)

    known = onprem.settings(connection, credential)
    domain = connection.username.rpartition("@")[2]
    try:
        return ews.discover(known.username, known.credential, domain, ca_pem=known.ca_pem)
    except ConnectorError as failure:
        raise ExchangeError(failure) from failure


def _online(connection: OnlineConnection, credential: Credential, selection: Selection, sleep: Sleep) -> Connector:
    from connectors.graph import connect as connect_graph  # noqa: PLC0415  (lazy: loads msal)

    return connect_graph(graph_settings(connection, credential), selection=selection, sleep=sleep)


def graph_settings(connection: OnlineConnection, credential: Credential) -> GraphSettings:
    """What Graph's adapter has to know of a tenant."""
    from connectors import graph  # noqa: PLC0415  (lazy)

    return graph.GraphSettings(
        directory_id=connection.directory_id,
        client_id=connection.client_id,
        credential=_for_graph(credential),
        cloud=connection.cloud,
        authority=connection.authority,
        graph_url=connection.graph_url,
        ca_pem=connection.ca_pem,
        uses_proxy=connection.uses_proxy,
    )


def _for_graph(credential: Credential) -> GraphCredential:
    from connectors import graph  # noqa: PLC0415  (lazy)

    if credential.kind is CredentialKind.CERTIFICATE:
        certificate = credential.certificate_pem.encode("ascii")
        return graph.ClientCertificate(credential.secret.reveal(), certificate, credential.expires_at)
    if credential.kind is CredentialKind.MANAGED_IDENTITY:
        return graph.ManagedIdentity(credential.identity_client_id)
    if credential.kind is CredentialKind.WORKLOAD_IDENTITY:
        return graph.FederatedToken(credential.token_file)
    return graph.ClientSecret(credential.secret.reveal(), credential.expires_at)


def _onprem(connection: OnpremConnection, credential: Credential, selection: Selection, sleep: Sleep) -> Connector:
    from connectors import ews  # noqa: PLC0415  (lazy)

    return ews.connect(onprem.settings(connection, credential), selection=selection, sleep=sleep)
