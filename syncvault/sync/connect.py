"""From a tenant's sealed facts to a connector that speaks with its Exchange."""

from __future__ import annotations

from typing import ClassVar

from connectors.port import Connector, ConnectorError, Identity
from syncvault.errors import SyncvaultError
from syncvault.vault.model import Credential, CredentialKind, OnlineConnection, OnpremConnection, TenantProfile


class ExchangeError(SyncvaultError):
    """Exchange, or what stands before it, refused or failed; `code` is its own word for it."""

    code: ClassVar[str] = "exchange"

    def __init__(self, failure: ConnectorError) -> None:
        super().__init__(f"{failure.message} ({failure.code})", advice=failure.advice)
        self.code = failure.code  # type: ignore[misc]  # the server's code, where others have one per class


def connect(profile: TenantProfile, credential: Credential) -> Connector:
    """The connector for a tenant; nothing is sent before its first use."""
    if isinstance(profile.connection, OnlineConnection):
        return _online(profile.connection, credential)
    return _onprem(profile.connection, credential)


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


def _online(connection: OnlineConnection, credential: Credential) -> Connector:
    from connectors.graph import ClientCertificate, ClientSecret, GraphSettings  # noqa: PLC0415  (lazy: loads msal)
    from connectors.graph import connect as connect_graph  # noqa: PLC0415

    secret: ClientSecret | ClientCertificate
    if credential.kind is CredentialKind.CERTIFICATE:
        secret = ClientCertificate(credential.secret.reveal(), credential.certificate_pem.encode("ascii"))
    else:
        secret = ClientSecret(credential.secret.reveal())
    return connect_graph(
        GraphSettings(
            directory_id=connection.directory_id,
            client_id=connection.client_id,
            credential=secret,
            cloud=connection.cloud,
            authority=connection.authority,
            graph_url=connection.graph_url,
            ca_pem=connection.ca_pem,
        )
    )


def _onprem(connection: OnpremConnection, credential: Credential) -> Connector:
    from connectors.ews import EwsSettings  # noqa: PLC0415  (lazy: loads exchangelib)
    from connectors.ews import connect as connect_ews  # noqa: PLC0415

    return connect_ews(
        EwsSettings(
            ews_url=connection.ews_url,
            username=connection.username,
            password=credential.secret.reveal(),
            auth="basic" if connection.auth == "basic" else "ntlm",
            ca_pem=connection.ca_pem,
        )
    )
