"""The contract suite's view of the EWS adapter and the simulator of Exchange on premises."""

from __future__ import annotations

import trustme

from connectors.contact import Contact
from connectors.ews import EwsSettings, Password, connect
from connectors.port import Connector, Mailbox, Source, SourceKind
from tests.contract.harness import Fault, Harness
from tests.reading import EVERYTHING
from tests.simulators.company.model import Company
from tests.simulators.company.records import Item
from tests.simulators.onprem.mailboxes import primary_address
from tests.simulators.onprem.server import OnpremSimulator


class EwsHarness(Harness):
    """NTLM with the service account, mailboxes by impersonation."""

    name = "ews"
    permission = "ApplicationImpersonation"
    knows_groups = False

    def __init__(self, company: Company, authority: trustme.CA, ca_pem: str) -> None:
        self.company = company
        self.waits = []
        self.simulator = OnpremSimulator(company, authority)
        self.simulator.start()
        self._ca_pem = ca_pem
        self._connectors: list[Connector] = []

    def settings(self, password: str = "") -> EwsSettings:
        """Settings that lead to the simulator."""
        return EwsSettings(
            ews_url=self.simulator.url,
            username=self.simulator.username,
            credential=Password((password or self.simulator.password).encode()),
            ca_pem=self._ca_pem,
        )

    def connect(self, *, page_size: int = 0) -> Connector:
        return self._kept(connect(self.settings(), selection=EVERYTHING, sleep=self.waits.append, page_size=page_size))

    def connect_wrongly(self) -> Connector:
        return self._kept(connect(self.settings("not-the-password"), sleep=self.waits.append))

    def _kept(self, connector: Connector) -> Connector:
        self._connectors.append(connector)
        return connector

    def refusals(self) -> int:
        return self.simulator.refused_logins

    def source(self, person: str) -> Source:
        return Source(SourceKind.MAILBOX, self._address(person))

    def unknown_source(self) -> Source:
        return Source(SourceKind.MAILBOX, "nobody@example.com")

    def mailbox(self, person: str) -> Mailbox:
        address = self._address(person)
        return Mailbox(address.lower(), address)

    def _address(self, person: str) -> str:
        return primary_address(self.company.people[person])

    def fail(self, fault: Fault, *, times: int = 1) -> None:
        faults = self.simulator.faults
        if fault is Fault.BUSY:
            faults.soap("ErrorServerBusy", back_off_ms=7_000, times=times)
        elif fault is Fault.ERROR:
            faults.http(503, times=times)
        elif fault is Fault.RESET:
            faults.reset(times=times)
        else:
            faults.truncate(times=times)

    def forget_checkpoints(self, person: str) -> None:
        self.simulator.faults.lose_sync_states()

    def refuse_mailbox(self, person: str) -> None:
        self.simulator.deny_impersonation(self._address(person))

    def close(self) -> None:
        for connector in self._connectors:
            connector.close()
        self.simulator.stop()

    def contact_of(self, item: Item) -> Contact:
        contact = super().contact_of(item)
        return contact.replace(email_addresses=contact.email_addresses[:3])  # Exchange has no more
