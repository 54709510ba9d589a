"""The retention catalogue: every data class has exactly one rule (start event, period, method; DIN 66398)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

RULE_VERSION: Final = 1  # of this catalogue; sealed facts and receipts name the version they were decided by


class DataClass(StrEnum):
    """What a stored row is, in the catalogue's words."""

    TENANT_PROFILE = "tenant-profile"
    CREDENTIAL = "credential"
    SOURCE = "source"
    MAILBOX = "mailbox"
    CONTACT = "contact"
    PHOTO = "photo"
    CHECKPOINT = "checkpoint"
    RUN = "run-history"
    AUDIT = "audit-entry"


class Start(StrEnum):
    """The event from which a period counts."""

    COVER_ENDS = "end of the trial or cancelled subscription"
    WRITTEN = "written"


@dataclass(frozen=True, slots=True)
class Rule:
    """How long a data class is kept, counted in civil days from its start event."""

    start: Start
    days: int
    method: str


_WITH_TENANT: Final = Rule(Start.COVER_ENDS, 90, "tenant key destroyed and rows removed")
_LOG: Final = Rule(Start.WRITTEN, 365, "rows removed")

CATALOGUE: Final[dict[DataClass, Rule]] = {
    DataClass.TENANT_PROFILE: _WITH_TENANT,
    DataClass.CREDENTIAL: _WITH_TENANT,
    DataClass.SOURCE: _WITH_TENANT,
    DataClass.MAILBOX: _WITH_TENANT,
    DataClass.CONTACT: _WITH_TENANT,
    DataClass.PHOTO: _WITH_TENANT,
    DataClass.CHECKPOINT: _WITH_TENANT,
    DataClass.RUN: _LOG,
    DataClass.AUDIT: _LOG,
}
