"""The contract suite's view of the Graph adapter and the Exchange Online simulator."""

from __future__ import annotations

from typing import Any

import trustme

from connectors.graph import ClientSecret, GraphSettings, connect
from connectors.port import Connector, Identity, Mailbox, Source, SourceKind
from tests.contract.harness import Fault, Harness
from tests.reading import EVERYTHING
from tests.simulators.company.model import Company
from tests.simulators.online.server import OnlineSimulator


class GraphHarness(Harness):
    """Client secret, everything over one origin."""

    name = "graph"
    permission = "Contacts.Read"
    knows_groups = True

    def __init__(self, company: Company, authority: trustme.CA, ca_pem: str) -> None:
        self.company = company
        self.waits = []
        self.simulator = OnlineSimulator(company, authority)
        self.simulator.start()
        self._ca_pem = ca_pem
        self._connectors: list[Connector] = []
        self._refusals = 0
        self._count_refusals()

    def _count_refusals(self) -> None:
        answer = self.simulator._sign_in.answer

        def counting(request: Any) -> Any:
            given = answer(request)
            self._refusals += given is not None and given.status in {400, 401}
            return given

        self.simulator._sign_in.answer = counting  # type: ignore[method-assign]

    def settings(self, credential: Any = None) -> GraphSettings:
        """Settings that lead to the simulator."""
        return GraphSettings(
            directory_id=self.simulator.directory_id,
            client_id=self.simulator.client_id,
            credential=credential or ClientSecret(self.simulator.client_secret.encode()),
            authority=self.simulator.origin,
            graph_url=self.simulator.origin,
            ca_pem=self._ca_pem,
        )

    def probe(self, settings: GraphSettings) -> Identity:
        """Signs in once with these settings."""
        connector = connect(settings, sleep=self.waits.append)
        try:
            return connector.probe()
        finally:
            connector.close()

    def connect(self, *, page_size: int = 0) -> Connector:
        return self._kept(connect(self.settings(), selection=EVERYTHING, sleep=self.waits.append, page_size=page_size))

    def connect_wrongly(self) -> Connector:
        return self._kept(connect(self.settings(ClientSecret(b"not-the-secret")), sleep=self.waits.append))

    def _kept(self, connector: Connector) -> Connector:
        self._connectors.append(connector)
        return connector

    def refusals(self) -> int:
        return self._refusals

    def source(self, person: str) -> Source:
        return Source(SourceKind.USER, person)

    def group(self, group: str) -> Source:
        return Source(SourceKind.GROUP, group)

    def unknown_source(self) -> Source:
        return Source(SourceKind.USER, "00000000-0000-4000-8000-000000000000")

    def mailbox(self, person: str) -> Mailbox:
        found = self.company.people[person]
        return Mailbox(person, found.mail or found.user_principal_name, found.enabled)

    def fail(self, fault: Fault, *, times: int = 1) -> None:
        faults, data = self.simulator.faults, "^/v1.0/"
        if fault is Fault.BUSY:
            faults.fail_next(data, status=429, headers={"Retry-After": "7"}, times=times)
        elif fault is Fault.ERROR:
            faults.fail_next(data, status=503, times=times)
        elif fault is Fault.RESET:
            faults.drop_next(data, times=times)
        else:
            faults.truncate_next(data, times=times)

    def forget_checkpoints(self, person: str) -> None:
        self.simulator.expire_delta_tokens()

    def refuse_mailbox(self, person: str) -> None:
        self.simulator.behaviour.denied.add(person)

    def close(self) -> None:
        for connector in self._connectors:
            connector.close()
        self.simulator.stop()
