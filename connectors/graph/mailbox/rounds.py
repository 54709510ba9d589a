"""One folder's delta round: where it stands, what it asks next, and the page in hand.

Source: Microsoft Graph, "contact: delta".
"""

from __future__ import annotations

from typing import Any, Final

from connectors.graph import paths
from connectors.graph.mailbox import checkpoints
from connectors.graph.mailbox.asking import UNKNOWN_HERE, TooLargePartError, needed, outlook
from connectors.graph.mailbox.checkpoints import Default
from connectors.graph.mailbox.marks import Marks
from connectors.graph.mapping import contact_from, contact_select
from connectors.graph.wire.batch import Outcome, Read
from connectors.graph.wire.client import GraphClient, Json, identifier_in, values
from connectors.graph.wire.refusals import CONTACTS, Refusal, explain
from connectors.port import CheckpointExpired, Folder, Page, ProtocolViolation, Removal, Upsert

_SMALLER: Final = (20, 1)  # page sizes for contacts with enormous notes
_STAYS: Final = 2  # how often an empty page may name itself as the next one: the server is not ready yet
_TOO_LARGE: Final = 413


class FolderLostError(Exception):
    """The folder is not there any more."""


class Round:
    """A folder's round. `take` what came of `read`; when it has a page in hand, `mark` it if it needs that.

    Attributes:
        folder: The folder.
        default: Given if it is the default one.
        marks: Of the folder, once asked for.
        resumed: Whether it goes on from a checkpoint, and has not done so yet.
        paged: Whether a page has been handed over.
        over: Whether that was the last one.
    """

    def __init__(
        self,
        client: GraphClient,
        key: str,
        folder: Folder,
        fields: frozenset[str],
        *,
        checkpoint: str,
        default: Default | None,
        page_size: int,
    ) -> None:
        self.folder = folder
        self.default = default
        self.marks: Marks | None = None
        self._hidden_since: frozenset[str] = frozenset()  # marked private since the first page
        self.resumed = bool(checkpoint)
        self.paged = False
        self.over = False
        self._client = client
        self._key = key
        self._fields = fields
        self._checkpoint = checkpoint
        self._page_size = page_size
        self._path = ""
        self._seen: set[int] = set()  # hashes of the paths asked for
        self._stayed = 0
        self._following = ""
        self._last = False
        self._rows: dict[str, Json] = {}
        self._removed: dict[str, None] = {}

    def read(self) -> Read:
        """The page to ask for; raises as `connectors.graph.mailbox.checkpoints.path_in` does."""
        if not self._path:
            begun = checkpoints.path_in(self._client, self._checkpoint, self.folder.id)
            self._path = begun or f"{self._contacts}/delta?$select={contact_select(self._fields)}"
        self._seen.add(hash(self._path))
        return outlook(self._path, self._key, page_size=self._page_size, alone=self._page_size in _SMALLER)

    def take(self, outcome: Outcome) -> bool:
        """Takes what came; False if there is no page in it and it has to be asked again.

        Raises:
            FolderLostError: The folder was deleted meanwhile.
            CheckpointExpired: The server does not know the folder's checkpoint any more.
            ConnectorError: Whatever else keeps the round from going on.
        """
        if isinstance(outcome, TooLargePartError) or (isinstance(outcome, Refusal) and outcome.status == _TOO_LARGE):
            self._shrink()
            return False
        if isinstance(outcome, Refusal):
            raise self._explained(outcome)
        data = needed(outcome).json()
        following, final = data.get("@odata.nextLink"), data.get("@odata.deltaLink")
        if not following and not final:
            raise ProtocolViolation("A page of changes names neither a next page nor the next round.")
        entries = values(data)
        self._following, self._last = self._client.local_path(following or final), not following
        if not self._last and hash(self._following) in self._seen:
            if entries or self._following != self._path or self._stayed == _STAYS:
                raise ProtocolViolation("A page of changes names itself or an earlier one as the next one.")
            self._stayed += 1
            return False
        self._stayed = 0
        self._sort(entries)
        return True

    @property
    def needs_marks(self) -> bool:
        """Whether the page in hand holds contacts and the folder's marks are not known yet, or may be out of date.

        At the end of several pages they are asked for again: what was private already when a later page was made is
        named by no round to come.
        """
        return bool(self._rows) if self.marks is None else self._last

    def mark(self, marks: Marks) -> None:
        """Takes the folder's marks, as they are now."""
        if self.marks is not None:
            self._hidden_since = marks.private - self.marks.private
        self.marks = marks

    def page(self) -> Page:
        """The page in hand, which is the caller's from now on."""
        marks = self.marks or Marks()
        fields, private, pictured = self._fields, marks.private, marks.pictured
        hidden = private & self._rows.keys()
        page = Page(
            folder=self.folder,
            upserts=tuple(
                Upsert(
                    identifier,
                    contact_from(entry, fields),
                    None if pictured is None else identifier in pictured,
                )
                for identifier, entry in self._rows.items()
                if identifier not in hidden
            ),
            removals=tuple(map(Removal, (*self._removed, *sorted(hidden | self._hidden_since)))),
            checkpoint=checkpoints.written(self._following, self.default),
            last=self._last,
            skipped={"private": len(hidden)} if hidden else {},
        )
        self._path, self.resumed, self.paged, self.over = self._following, False, True, self._last
        self._rows, self._removed, self._hidden_since = {}, {}, frozenset()
        return page

    # -- inside -------------------------------------------------------------------------------------------------

    @property
    def _unnamed(self) -> bool:
        return self.default is not None and not self.default.named

    @property
    def _contacts(self) -> str:
        if self._unnamed:  # "contact: delta" has a folder, for whose ID its well-known name stands
            return f"{paths.folder(self._key, self.folder.id)}/contacts"
        return paths.contacts(self._key, self.folder.id)

    def _shrink(self) -> None:
        smaller = [size for size in _SMALLER if size < self._page_size]
        if not smaller:
            raise ProtocolViolation("A single contact is larger than what is read.", code="answer-too-large")
        self._page_size = smaller[0]

    def _explained(self, refusal: Refusal) -> Exception:
        # The folders have been listed, so there are a user and a mailbox: the name alone is not known here.
        is_name_refused = self._unnamed and not self.resumed and not self.paged and refusal.status in UNKNOWN_HERE
        if refusal.no_folder or is_name_refused:
            return FolderLostError()
        # A checkpoint is the server's own: when it calls that a bad request, it cannot read it any more.
        unreadable = self.resumed and refusal.status == 400 and not (refusal.no_mailbox or refusal.no_user)
        if refusal.lost_state or unreadable:
            return CheckpointExpired(
                "Graph no longer knows a folder's checkpoint.", folder_id=self.folder.id, code=refusal.code
            )
        return explain(refusal, advice=CONTACTS)

    def _sort(self, entries: list[Any]) -> None:
        """Sorts a page's rows; of several for one contact the last counts."""
        rows, removed = self._rows, self._removed
        for entry in entries:
            identifier = identifier_in(entry)
            if entry.get("@removed") is not None:
                rows.pop(identifier, None)
                removed[identifier] = None
            else:
                removed.pop(identifier, None)
                _check_type(entry)
                rows[identifier] = entry


def _check_type(entry: Json) -> None:
    kind = entry.get("@odata.type")
    if kind is not None and not (isinstance(kind, str) and kind.lower().endswith(".contact")):
        raise ProtocolViolation("A folder of contacts holds something that is none.", code="unknown-type")
