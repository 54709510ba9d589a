"""Reading several mailboxes for adapters that read one after the other: each one's failure is its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from connectors.port import ConnectorError, Ended, FolderGone, Page, Step, Wanted


def one_by_one(
    read: Callable[[Wanted], Iterator[Page | FolderGone]], wanted: Sequence[Wanted]
) -> Iterator[Sequence[Step]]:
    """The steps of each mailbox, every one by itself.

    Args:
        read: Reads one mailbox.
        wanted: The mailboxes.

    Raises:
        ConnectorError: It concerns all of the tenant, as a refused credential does.
    """
    for one in wanted:
        try:
            for outcome in read(one):
                yield [Step(one.mailbox, outcome)]
        except ConnectorError as error:
            if error.concerns_all:
                raise
            yield [Step(one.mailbox, Ended(error))]
        else:
            yield [Step(one.mailbox, Ended())]
