"""What the contract suite asks of an adapter and its simulator; one subclass per adapter, in `harness_NAME.py`.

The company (`tests.simulators.company`) is the same for both, so the suite edits it directly, by object IDs. A harness
knows how the adapter names people, how to make its connector, and how to make its server misbehave. A fixture
gives each test a fresh one and closes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum

from connectors.port import Connector, Mailbox, Source
from tests.simulators.company.model import Company


class Fault(StrEnum):
    """Passing faults that a connector rides out by itself."""

    BUSY = "busy"  # "come back later", with a time: Graph 429, EWS ErrorServerBusy
    ERROR = "error"  # 503 without a word of when
    RESET = "reset"  # the connection breaks before an answer
    TRUNCATED = "truncated"  # the connection breaks in the middle of an answer


class Harness(ABC):
    """One adapter, one simulator, one company.

    Attributes:
        name: The adapter's.
        permission: What the advice of a `NotPermitted` mailbox must name.
        knows_groups: Whether groups are sources (online only).
        knows_private: Whether the source marks items private and the adapter skips them (on-premises only).
        company: What the server serves; edit it freely.
        waits: Seconds that the connectors of this harness would have slept (pass `sleep=self.waits.append`).
    """

    name: str
    permission: str
    knows_groups: bool
    knows_private: bool
    company: Company
    waits: list[float]

    @abstractmethod
    def connect(self, *, page_size: int = 0) -> Connector:
        """A connector with the right credential; 0 leaves the adapter's own page size."""

    @abstractmethod
    def connect_wrongly(self) -> Connector:
        """A connector with a credential that the server refuses."""

    @abstractmethod
    def refusals(self) -> int:
        """How many attempts to sign in the server has refused for their credential."""

    @abstractmethod
    def source(self, person: str) -> Source:
        """The source that names this person (an object ID of the company)."""

    def group(self, group: str) -> Source:
        """The source that names this group; only called where `knows_groups`."""
        raise NotImplementedError(group)

    @abstractmethod
    def unknown_source(self) -> Source:
        """A well-formed source that names nobody."""

    @abstractmethod
    def mailbox(self, person: str) -> Mailbox:
        """The mailbox as `resolve` would give it."""

    @abstractmethod
    def fail(self, fault: Fault, *, times: int = 1) -> None:
        """The next `times` requests for data (not for signing in) meet this fault."""

    @abstractmethod
    def forget_checkpoints(self, person: str) -> None:
        """From now on the server knows none of the checkpoints it gave out for this mailbox."""

    @abstractmethod
    def refuse_mailbox(self, person: str) -> None:
        """Takes away the right to this one mailbox."""

    @abstractmethod
    def close(self) -> None:
        """Closes connectors and whatever the harness started."""
