"""Clients that are not ours, for trying the EWS simulator: exchangelib as it is, and bare SOAP over requests."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
from exchangelib import (
    BASIC,
    IMPERSONATION,
    NTLM,
    Account,
    Configuration,
    Credentials,
    FailFast,
    FaultTolerance,
    Version,
)
from exchangelib.protocol import BaseProtocol, CachingProtocol
from exchangelib.version import Build
from lxml import etree

from connectors.trust import TrustAdapter, tls_context
from tests.simulators.onprem.server import OnpremSimulator
from tests.simulators.onprem.soap import MESSAGES, NAMESPACES, SOAP, TYPES

ANNAS = "anna.becker@example.com"
PINNED = Version(build=Build(15, 1, 2507, 39))

__all__ = [
    "ANNAS",
    "BASIC",
    "CONTACTS",
    "GET_CONTACTS_FOLDER",
    "IDS",
    "NTLM",
    "PINNED",
    "Soap",
    "get_items",
    "opened_account",
    "sync_body",
]


IDS = "<t:BaseShape>IdOnly</t:BaseShape>"
CONTACTS = '<t:DistinguishedFolderId Id="contacts"/>'
GET_CONTACTS_FOLDER = (
    f"<m:GetFolder><m:FolderShape>{IDS}</m:FolderShape><m:FolderIds>{CONTACTS}</m:FolderIds></m:GetFolder>"
)


@contextmanager
def opened_account(
    simulator: OnpremSimulator,
    ca_pem: str,
    address: str = ANNAS,
    *,
    auth_type: str | None = NTLM,
    version: Version | None = PINNED,
    password: str | None = None,
    access_type: str = IMPERSONATION,
    patient: bool = False,
) -> Iterator[Account]:
    """An unmodified exchangelib account; only the transport's trust is ours."""
    context = tls_context(ca_pem)

    class Trusting(TrustAdapter):
        def __init__(self, **options: object) -> None:
            super().__init__(context, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseProtocol, "HTTP_ADAPTER_CLS", Trusting)
        patch.setattr(BaseProtocol, "RETRY_WAIT", 0)
        configuration = Configuration(
            service_endpoint=simulator.url,
            credentials=Credentials(simulator.username, simulator.password if password is None else password),
            auth_type=auth_type,
            version=version,
            retry_policy=FaultTolerance(max_wait=30) if patient else FailFast(),
        )
        try:
            yield Account(address, config=configuration, autodiscover=False, access_type=access_type)
        finally:
            for protocol in list(CachingProtocol._protocol_cache.values()):
                if not isinstance(protocol, Exception):
                    (protocol[0] if isinstance(protocol, tuple) else protocol).close()
            CachingProtocol.clear_cache()


class Soap:
    """Bare requests with Basic sign-in; every difference from a proper one is a parameter."""

    def __init__(self, simulator: OnpremSimulator, ca_pem: str) -> None:
        self.simulator = simulator
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.mount("https://", TrustAdapter(tls_context(ca_pem)))
        token = base64.b64encode(f"{simulator.username}:{simulator.password}".encode()).decode()
        self.session.headers["Authorization"] = f"Basic {token}"
        self.session.headers["Content-Type"] = "text/xml; charset=utf-8"

    def close(self) -> None:
        self.session.close()

    def ask(
        self, body: str, *, as_: str = "", kind: str = "PrimarySmtpAddress", version: str = "Exchange2016"
    ) -> Answer:
        """One request; `body` may use the prefixes m and t."""
        return self.post(self.envelope(body, as_=as_, kind=kind, version=version))

    @staticmethod
    def envelope(body: str, *, as_: str = "", kind: str = "PrimarySmtpAddress", version: str = "Exchange2016") -> bytes:
        acting = (
            f"<t:ExchangeImpersonation><t:ConnectingSID><t:{kind}>{as_}</t:{kind}></t:ConnectingSID>"
            "</t:ExchangeImpersonation>"
        )
        return (
            f'<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="{SOAP}" xmlns:m="{MESSAGES}" '
            f'xmlns:t="{TYPES}"><s:Header><t:RequestServerVersion Version="{version}"/>{acting if as_ else ""}'
            f"</s:Header><s:Body>{body}</s:Body></s:Envelope>"
        ).encode()

    def post(self, payload: object, **headers: str) -> Answer:
        """Posts anything."""
        return Answer(self.session.post(self.simulator.url, data=payload, headers=headers, timeout=20))


class Answer:
    """An HTTP answer, with its XML if it is any."""

    def __init__(self, response: requests.Response) -> None:
        self.response = response
        self.status = response.status_code
        self.root = etree.fromstring(response.content) if response.content.startswith(b"<?xml") else None

    def texts(self, path: str) -> list[str]:
        """The texts of all elements at an XPath such as `//m:ResponseCode`."""
        assert self.root is not None
        return [element.text or "" for element in self.root.xpath(path, namespaces=NAMESPACES)]

    @property
    def codes(self) -> list[str]:
        """The response codes, or the fault's."""
        return self.texts("//*[local-name() = 'ResponseCode']")

    def attributes(self, path: str, name: str) -> list[str]:
        """An attribute of all elements at an XPath."""
        assert self.root is not None
        return [element.get(name, "") for element in self.root.xpath(path, namespaces=NAMESPACES)]


def sync_body(folder: str, state: str = "", most: int = 100, shape: str = IDS) -> str:
    known = f"<m:SyncState>{state}</m:SyncState>" if state else ""
    return (
        f"<m:SyncFolderItems><m:ItemShape>{shape}</m:ItemShape><m:SyncFolderId>{folder}</m:SyncFolderId>{known}"
        f"<m:MaxChangesReturned>{most}</m:MaxChangesReturned></m:SyncFolderItems>"
    )


def get_items(*ids: str, shape: str = IDS) -> str:
    references = "".join(f'<t:ItemId Id="{identifier}"/>' for identifier in ids)
    return f"<m:GetItem><m:ItemShape>{shape}</m:ItemShape><m:ItemIds>{references}</m:ItemIds></m:GetItem>"
