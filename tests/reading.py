"""Reading one mailbox, or the mailboxes of one source, through a connector's port."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from connectors.port import Connector, Ended, FolderGone, Mailbox, Page, Source, Wanted
from connectors.selection import FULL, Selection

EVERYTHING: Final = Selection(fields=FULL)


def outcomes(
    connector: Connector, mailbox: Mailbox, checkpoints: Mapping[str, str] | None = None
) -> Iterator[Page | FolderGone]:
    """The pages of one mailbox, and the folders that it lost; raises what it ended with."""
    for steps in connector.changes([Wanted(mailbox, dict(checkpoints or {}))]):
        for step in steps:
            if not isinstance(step.outcome, Ended):
                yield step.outcome
            elif step.outcome.error is not None:
                raise step.outcome.error


def mailboxes(connector: Connector, source: Source) -> Iterator[Mailbox]:
    """The mailboxes of a source."""
    return (card.mailbox for card in connector.resolve(source))
