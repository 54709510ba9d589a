"""What is wanted of a tenant: a closed list of fields, some folders, photos of one size. The rest is not asked for.

Both adapters take a `Selection` when they connect. What it leaves out is neither requested, where the protocol lets one
choose, nor handed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from connectors.contact import FIELD_NAMES, Contact

PHOTO: Final = "photo"
FIELDS: Final = (*FIELD_NAMES, PHOTO)
FULL: Final = frozenset(FIELDS)
BUSINESS: Final = frozenset(
    {
        "display_name", "given_name", "middle_name", "surname", "title", "generation", "initials",
        "company", "department", "job_title", "email_addresses",
        "business_phones", "home_phones", "mobile_phone", "business_address", PHOTO,
    }
)  # fmt: skip
PHOTO_PIXELS: Final = (48, 64, 96, 120, 240, 360, 432, 504, 648)  # "Get profilePhoto": the sizes that Exchange makes


@dataclass(frozen=True, slots=True)
class Selection:
    """What to read of a mailbox.

    Attributes:
        fields: Names of `FIELDS`.
        folders: Patterns (`fnmatch`, without case) over a contact folder's path; one that begins with `!` excludes.
            Without an including pattern every folder is read that none excludes.
        photo_pixels: The longer edge of people's photos; one of `PHOTO_PIXELS`.
        private: Whether to read items that their owner marked private.
    """

    fields: frozenset[str] = BUSINESS
    folders: tuple[str, ...] = ()
    photo_pixels: int = 240
    private: bool = False

    @property
    def photos(self) -> bool:
        """Whether photos are wanted at all."""
        return PHOTO in self.fields

    def takes_folder(self, path: str) -> bool:
        """Whether a contact folder is read."""
        folded = path.casefold()
        including = [pattern for pattern in self.folders if not pattern.startswith("!")]
        excluding = [pattern[1:] for pattern in self.folders if pattern.startswith("!")]
        return (not including or _matches(folded, including)) and not _matches(folded, excluding)

    def only(self, contact: Contact) -> Contact:
        """The contact without the fields that are not wanted."""
        if self.fields >= _CONTACT_FIELDS:
            return contact
        return Contact.of({name: value for name, value in contact.to_dict().items() if name in self.fields})


_CONTACT_FIELDS: Final = frozenset(FIELD_NAMES)


def _matches(folded: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(folded, pattern.casefold()) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Which people of a directory are meant; texts are compared without case, empty ones allow everybody.

    Attributes:
        department: Their department.
        company: Their company's name.
        domain: The domain of their primary address.
        exclude_group: Object ID of a group whose members, at any depth, are left out.
        disabled: Whether people who may not sign in are meant too.
        hidden: Whether people hidden from address lists are meant too.
    """

    department: str = ""
    company: str = ""
    domain: str = ""
    exclude_group: str = ""
    disabled: bool = False
    hidden: bool = False
