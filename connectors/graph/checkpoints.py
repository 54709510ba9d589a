"""What a checkpoint of ours says: the path to go on at, and of the default folder its name too.

The default folder is asked for by its well-known name; once read, its checkpoint remembers which folder that was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from connectors.graph.client import GraphClient
from connectors.port import CheckpointExpired, Folder


def written(path: str, *, default: str = "") -> str:
    """A checkpoint; `default` is the name of the folder if it is the default one."""
    return orjson.dumps({"path": path, "default": default}).decode() if default else path


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


def default_folder(checkpoints: Mapping[str, str]) -> Folder | None:
    """The default folder, if its checkpoint is among them."""
    for folder_id, checkpoint in checkpoints.items():
        if checkpoint.startswith("{"):
            name = _parsed(checkpoint).get("default")
            if isinstance(name, str) and name:
                return Folder(folder_id, name)
    return None


def _parsed(checkpoint: str) -> dict[str, Any]:
    try:
        found = orjson.loads(checkpoint)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
