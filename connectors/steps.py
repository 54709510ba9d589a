"""Reading several mailboxes for adapters that read one after the other: each one's failure is its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from connectors.port import ConnectorError, CredentialRejected, Ended, FolderGone, Page, Step, Wanted


def one_by_one(
    read: Callable[[Wanted], Iterator[Page | FolderGone]], wanted: Sequence[Wanted]
) -> Iterator[Sequence[Step]]:
    """The steps of each mailbox, every one by itself.

    Args:
        read: Reads one mailbox.
        wanted: The mailboxes.

    Raises:
        CredentialRejected: Nothing more may be tried.
    """
    for one in wanted:
        try:
            for outcome in read(one):
                yield [Step(one.mailbox, outcome)]
        except CredentialRejected:
            raise
        except ConnectorError as error:
            yield [Step(one.mailbox, Ended(error))]
        else:
            yield [Step(one.mailbox, Ended())]
