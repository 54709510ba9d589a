"""What changed in mailboxes' contacts: a delta round per folder, page by page, the folders of a mailbox side by side.

Source: Microsoft Graph, "Use delta query to track changes in Graph data" and "contact: delta".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from connectors.graph import paths
from connectors.graph.mailbox.asking import Asking, Server, both
from connectors.graph.mailbox.checkpoints import Default
from connectors.graph.mailbox.folders import Folders, contact_folders, named_folders
from connectors.graph.mailbox.marks import marks_of
from connectors.graph.mailbox.reading import MAILBOX_SECONDS, read_mailboxes
from connectors.graph.mailbox.rounds import FolderLostError, Round
from connectors.graph.wire.client import GraphClient
from connectors.graph.wire.refusals import Refusal
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
        try:
            yield from self._folders(key, begun, by_name=bool(self._selection.folders))
        except _DefaultReplacedError as error:
            # Nothing else has been handed over, and the paths of all folders begin with that of the default one.
            lost = {error.folder_id, paths.DEFAULT_FOLDER} & begun.keys()
            for folder_id in lost:
                del begun[folder_id]
                yield FolderGone(folder_id)
            yield from self._folders(key, begun, by_name=True)
            if not lost:
                self._server.names_stand_for_ids = False  # it is there, and was not found by its name

    def _folders(self, key: str, begun: Checkpoints, *, by_name: bool) -> Asking[None]:
        """The pages of every folder's round, then the folders that went away."""
        folders = yield from contact_folders(self._server, key, begun, by_name=by_name)
        taken = [folder for folder in folders.all if self._selection.takes_folder(folder.path)]
        present: set[str] = set()
        for start in range(0, len(taken), _SIDE_BY_SIDE):
            rounds = [
                self._round(key, folder, _begun(begun, folder, folders), folders.default)
                for folder in taken[start : start + _SIDE_BY_SIDE]
            ]
            present.update((yield from self._rounds(key, rounds, folders)))
        for folder_id in begun:
            if folder_id not in present:
                yield FolderGone(folder_id)

    def _round(self, key: str, folder: Folder, checkpoint: str, default: Default | None) -> Round:
        return Round(
            self._server.client,
            key,
            folder,
            self._selection.fields,
            checkpoint=checkpoint,
            default=default if default is not None and folder == default.folder else None,
            page_size=self._page_size,
        )

    def _rounds(self, key: str, rounds: list[Round], folders: Folders) -> Asking[set[str]]:
        """Pages of several folders' rounds until all are at their end; what one of them fails with comes last.

        Returns:
            The IDs of the folders.
        """
        read = rounds
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
            for entry in gone:
                if entry.default is not None and (entry.resumed or folders.unnamed):
                    raise _DefaultReplacedError(entry.folder.id)
            marking = self._mark(key, unmarked := [entry for entry in ready if entry.needs_marks])
            if unmarked and folders.unnamed:
                folders, lost = yield from both(named_folders(self._server, key, folders), marking)
                read = _renamed(read, folders)
                rounds, ready = ([entry for entry in some if entry in read] for some in (rounds, ready))
            else:
                lost = yield from marking
            gone += lost
            yield from (entry.page() for entry in ready if entry not in gone)
            yield from (FolderGone(entry.folder.id) for entry in gone)
            rounds = [entry for entry in rounds if not entry.over and entry not in gone]
        if isinstance(failure, CheckpointExpired):  # a mailbox that moved has lost them all
            others = [error.folder_id for error in expired if error is not failure]
            raise CheckpointExpired(failure.message, folder_id=failure.folder_id, others=others, code=failure.code)
        if failure is not None:
            raise failure
        return {entry.folder.id for entry in read}

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
    """The default folder that a checkpoint remembers, or that its well-known name stands for, is not there."""

    def __init__(self, folder_id: str) -> None:
        super().__init__()
        self.folder_id = folder_id


def _begun(begun: Checkpoints, folder: Folder, folders: Folders) -> str:
    """Where a folder's round stands. A default folder that just got its name goes on from where it had none."""
    is_default = folders.default is not None and folder.id == folders.default.folder.id
    return begun.get(folder.id) or (begun.get(paths.DEFAULT_FOLDER, "") if is_default else "")


def _renamed(rounds: list[Round], folders: Folders) -> list[Round]:
    """The rounds of folders whose names are known now."""
    default, standing = folders.default, {folder.id: folder for folder in folders.all}
    if default is None or any(entry.folder.id == default.folder.id for entry in rounds):
        # It is among those listed, and read as one of them.
        rounds = [entry for entry in rounds if entry.default is None]
    for entry in rounds:
        is_default = entry.default is not None or (default is not None and entry.folder.id == default.folder.id)
        entry.default = default if is_default else None
        entry.folder = default.folder if is_default and default is not None else standing[entry.folder.id]
    return rounds
