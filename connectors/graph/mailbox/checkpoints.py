"""What a checkpoint of ours says: the path to go on at, and of the default folder its name too.

The default folder is asked for by its well-known name; once read, its checkpoint remembers which folder that was.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import orjson

from connectors.graph import paths
from connectors.graph.wire.client import GraphClient
from connectors.port import CheckpointExpired, Folder

_UNNAMED: Final = Folder(paths.DEFAULT_FOLDER, "Contacts")
_WEEK: Final = 7  # days


@dataclass(frozen=True, slots=True)
class Default:
    """A mailbox's default folder.

    Attributes:
        folder: The folder; while it has no name of its own, the well-known one stands for its ID.
        named: Whether its ID and name have been asked for: not before one of the mailbox's folders holds anything.
        asked: When that was, or when it was first read without.
    """

    folder: Folder
    named: bool
    asked: date

    @classmethod
    def unnamed(cls, today: date) -> Default:
        """One whose ID and name nobody needs yet."""
        return cls(_UNNAMED, named=False, asked=today)

    def is_due(self, key: str, today: date) -> bool:
        """Whether to ask for its name again: after one week or two, which differs by mailbox."""
        return not 0 <= (today - self.asked).days < _WEEK + zlib.crc32(key.encode()) % _WEEK


def written(path: str, default: Default | None = None) -> str:
    """A checkpoint; `default` is given if the folder is the default one."""
    if default is None:
        return path
    name = default.folder.path if default.named else ""
    return orjson.dumps({"path": path, "default": name, "asked": default.asked.isoformat()}).decode()


def path_in(client: GraphClient, checkpoint: str, folder_id: str) -> str:
    """The path to go on at, empty for no checkpoint.

    Raises:
        CheckpointExpired: It is none of ours.
        ProtocolViolation: It leads to another host.
    """
    path = checkpoint
    if checkpoint.startswith("{"):
        found = _parsed(checkpoint).get("path")
        if not isinstance(found, str) or not found:
            raise CheckpointExpired("A folder's checkpoint cannot be read.", folder_id=folder_id)
        path = found
    # Ours are paths; a whole address is let through if it leads home, as any link of the server's.
    return path if not path or path.startswith("/") else client.local_path(path)


def default_in(checkpoints: Mapping[str, str]) -> Default | None:
    """The default folder, if its checkpoint is among them."""
    found = [
        Default(Folder(folder_id, name) if name else _UNNAMED, named=bool(name), asked=_day(parsed.get("asked")))
        for folder_id, checkpoint in checkpoints.items()
        if checkpoint.startswith("{") and isinstance(name := (parsed := _parsed(checkpoint)).get("default"), str)
    ]
    return max(found, key=lambda default: default.named, default=None)


def _parsed(checkpoint: str) -> dict[str, Any]:
    try:
        found = orjson.loads(checkpoint)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _day(text: object) -> date:
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        return date.min  # the first ones say none
