"""What changed in mailboxes' contacts: a delta round per folder, page by page, the folders of a mailbox side by side.

Source: Microsoft Graph, "Use delta query to track changes in Graph data" and "contact: delta".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from connectors.graph import checkpoints
from connectors.graph.asking import Asking, Server
from connectors.graph.client import GraphClient
from connectors.graph.folders import contact_folders
from connectors.graph.marks import marks_of
from connectors.graph.reading import MAILBOX_SECONDS, read_mailboxes
from connectors.graph.refusals import Refusal
from connectors.graph.rounds import FolderLostError, Round
from connectors.port import (
    CheckpointExpired,
    Checkpoints,
    ConnectorError,
    Folder,
    FolderGone,
    Step,
    Wanted,
)
from connectors.selection import Selection

PAGE_SIZE: Final = 200
_SIDE_BY_SIDE: Final = 10  # folders of a mailbox: with their two filters each they fill a batch


class ContactReader:
    """Reads mailboxes for one connector; remembers what this server does not know."""

    def __init__(
        self,
        client: GraphClient,
        selection: Selection,
        page_size: int = PAGE_SIZE,
        mailbox_seconds: float = MAILBOX_SECONDS,
    ) -> None:
        self._server = Server(client)
        self._selection = selection
        self._page_size = page_size
        self._mailbox_seconds = mailbox_seconds

    def changes(self, wanted: Sequence[Wanted]) -> Iterator[Sequence[Step]]:
        """What changed in mailboxes since their checkpoints, as `connectors.port.Connector.changes` has it."""
        yield from read_mailboxes(self._server.client, wanted, self._mailbox, self._mailbox_seconds)

    def _mailbox(self, wanted: Wanted) -> Asking[None]:
        if not wanted.mailbox.opens:
            return
        key, begun = wanted.mailbox.key, dict(wanted.checkpoints)
        known = checkpoints.default_folder(begun)
        try:
            yield from self._folders(key, begun, known)
        except _DefaultReplacedError:
            # Nothing else has been handed over, and the paths of all folders begin with that of the default one.
            del begun[known.id if known else ""]
            yield from self._folders(key, begun, None)

    def _folders(self, key: str, begun: Checkpoints, known: Folder | None) -> Asking[None]:
        """The pages of every folder's round, then the folders that went away."""
        folders = yield from contact_folders(self._server, key, known)
        taken = [folder for folder in folders.all if self._selection.takes_folder(folder.path)]
        for start in range(0, len(taken), _SIDE_BY_SIDE):
            rounds = [
                self._round(key, folder, begun.get(folder.id, ""), folders.default)
                for folder in taken[start : start + _SIDE_BY_SIDE]
            ]
            yield from self._rounds(key, rounds, known)
        present = {folder.id for folder in taken}
        for folder_id in begun:
            if folder_id not in present:
                yield FolderGone(folder_id)

    def _round(self, key: str, folder: Folder, checkpoint: str, default: Folder | None) -> Round:
        return Round(
            self._server.client,
            key,
            folder,
            self._selection.fields,
            checkpoint=checkpoint,
            is_default=default is not None and folder.id == default.id,
            page_size=self._page_size,
        )

    def _rounds(self, key: str, rounds: list[Round], known: Folder | None) -> Asking[None]:
        """Pages of several folders' rounds until all are at their end; what one of them fails with comes last."""
        failure: Exception | None = None
        expired: list[CheckpointExpired] = []
        while rounds and failure is None:
            outcomes = yield [entry.read() for entry in rounds]
            ready: list[Round] = []
            gone: list[Round] = []
            for entry, outcome in zip(rounds, outcomes, strict=True):
                try:
                    if entry.take(outcome):
                        ready.append(entry)
                except FolderLostError:
                    gone.append(entry)
                except CheckpointExpired as error:
                    expired.append(error)
                    failure = failure or error
                except (ConnectorError, Refusal) as error:
                    failure = failure or error
            if known and any(entry.folder.id == known.id and not entry.paged for entry in gone):
                yield FolderGone(known.id)
                raise _DefaultReplacedError
            gone += yield from self._mark(key, [entry for entry in ready if entry.needs_marks])
            yield from (entry.page() for entry in ready if entry not in gone)
            yield from (FolderGone(entry.folder.id) for entry in gone)
            rounds = [entry for entry in rounds if not entry.over and entry not in gone]
        if isinstance(failure, CheckpointExpired):  # a mailbox that moved has lost them all
            others = [error.folder_id for error in expired if error is not failure]
            raise CheckpointExpired(failure.message, folder_id=failure.folder_id, others=others, code=failure.code)
        if failure is not None:
            raise failure

    def _mark(self, key: str, rounds: list[Round]) -> Asking[list[Round]]:
        """Gives rounds their folders' marks; returns those whose folders are gone."""
        marks = yield from marks_of(self._server, key, [entry.folder for entry in rounds], self._selection)
        gone = []
        for entry, found in zip(rounds, marks, strict=True):
            if found is None:
                gone.append(entry)
            else:
                entry.mark(found)
        return gone


class _DefaultReplacedError(Exception):
    """The default folder that a checkpoint remembers is not there any more."""
