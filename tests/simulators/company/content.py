"""The company as JSON: what a vault has to hold after a sync, for tests and the demo to compare with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from typing import Any

from tests.simulators.company.model import Company
from tests.simulators.company.records import Box, Item, OrgContact, Person, PostalAddress

_PERSON = [field.name for field in fields(Person) if field.name not in {"photo", "box", "created"}]
_ITEM = [field.name for field in fields(Item) if field.name not in {"photo", "created", "modified", "shown"}]


def company_json(company: Company, only: str = "") -> bytes:
    """Everybody with mailbox, folders and contacts, and the groups; photos by size and SHA-256.

    Args:
        company: The company to show.
        only: The object ID or address of the one person to show; empty for all.
    """
    with company.lock:
        chosen = [company.find_person(only)] if only else list(company.people.values())
        # Person by person: a grown company as one tree of dictionaries would take a gigabyte.
        people = b",".join(_encoded(person_content(person)) for person in chosen if person)
        rest = {
            "directory_id": company.directory_id,
            "sequence": company.sequence,
            "org_contacts": [
                {field.name: _plain(getattr(contact, field.name)) for field in fields(OrgContact)}
                for contact in company.org_contacts.values()
            ],
            "groups": [
                {
                    "object_id": group.object_id,
                    "display_name": group.display_name,
                    "hidden": group.hidden,
                    "dynamic": group.dynamic,
                    "members": list(group.members),
                    "people": [person.object_id for person in company.transitive_people(group.object_id)],
                }
                for group in company.groups.values()
            ],
        }
    return b'{"people":[' + people + b"]," + _encoded(rest)[1:]


def holdings(company: Company) -> dict[str, int]:
    """How much there is to read, by kind; `filled` are folders with contacts, `pictures` those of contacts."""
    with company.lock:
        boxes = [person.box for person in company.people.values() if person.box]
        folders = [folder for box in boxes for folder in box.folders.values()]
        items = [item for folder in folders for item in folder.items.values()]
        return {
            "mailboxes": len(boxes),
            "folders": len(folders),
            "filled": sum(bool(folder.items) for folder in folders),
            "contacts": len(items),
            "pictures": sum(item.photo is not None for item in items),
            "portraits": sum(person.photo is not None for person in company.people.values()),
        }


def _encoded(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def person_content(person: Person) -> dict[str, Any]:
    """One person with the mailbox, which is null where there is none."""
    shown = {name: _plain(getattr(person, name)) for name in _PERSON}
    return shown | _photo(person.photo) | {"mailbox": _box(person.box) if person.box else None}


def item_content(item: Item) -> dict[str, Any]:
    """One contact."""
    return {name: _plain(getattr(item, name)) for name in _ITEM} | _photo(item.photo)


def _box(box: Box) -> dict[str, Any]:
    folders = [
        {
            "id": folder.id,
            "name": folder.name,
            "parent_id": folder.parent_id,
            "path": box.path(folder.id),
            "items": [item_content(item) for item in folder.items.values()],
        }
        for folder in box.folders.values()
    ]
    return {"folders": folders}


def _photo(photo: bytes | None) -> dict[str, Any]:
    if photo is None:
        return {"photo_size": 0, "photo_sha256": None}
    return {"photo_size": len(photo), "photo_sha256": hashlib.sha256(photo).hexdigest()}


def _plain(value: Any) -> Any:
    if isinstance(value, PostalAddress):
        return {part: text for part in PostalAddress.__slots__ if (text := getattr(value, part))}
    return list(value) if isinstance(value, tuple) else value
