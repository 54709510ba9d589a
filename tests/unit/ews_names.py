"""Names that a directory on paper is asked for, for unit tests."""

from __future__ import annotations

from connectors.ews.connector import EwsConnector
from connectors.port import Source
from tests.reading import mailboxes
from tests.unit.ews_wire import error, messages


def warned(operation: str) -> str:
    """That there is nobody, where the server calls that no error."""
    nobody = error(operation, "ErrorNameResolutionNoResults")
    return messages(operation, nobody.replace('"Error"', '"Warning"'))


def keys(connector: EwsConnector, source: Source) -> list[str]:
    return [mailbox.key for mailbox in mailboxes(connector, source)]
