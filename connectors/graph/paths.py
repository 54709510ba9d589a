"""Paths of Graph, relative to the API version, with every ID escaped."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from urllib.parse import quote

IMMUTABLE: Final = 'IdType="ImmutableId"'  # on every request that gives or takes a contact's ID
DEFAULT_FOLDER: Final = "contacts"  # stands for the default folder where the server does not tell its ID
_PLAIN: Final = "=@"


def user(key: str) -> str:
    """A user, by object ID or user principal name."""
    escaped = quote(key, safe=_PLAIN)
    # "Get a user": a name that begins with a dollar sign needs the other notation.
    return f"/users('{escaped}')" if key.startswith("$") else f"/users/{escaped}"


def group(key: str) -> str:
    """A group, by object ID."""
    return f"/groups/{quote(key, safe=_PLAIN)}"


def folder(key: str, folder_id: str) -> str:
    """A contact folder of a user, wherever it lies in the tree."""
    return f"{user(key)}/contactFolders/{quote(folder_id, safe=_PLAIN)}"


@lru_cache(maxsize=1024)  # the photos of a folder's contacts all begin with it
def contacts(key: str, folder_id: str) -> str:
    """The contacts of a folder."""
    return f"{user(key)}/contacts" if folder_id == DEFAULT_FOLDER else f"{folder(key, folder_id)}/contacts"


def contact_photo(key: str, folder_id: str, contact_id: str) -> str:
    """The photo of a contact, without `/$value`."""
    return f"{contacts(key, folder_id)}/{quote(contact_id, safe=_PLAIN)}/photo"
