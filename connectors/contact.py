"""The canonical contact: a closed list of fields, each with its purpose and its limit.

Both adapters map into these fields and into nothing else. What a server sends beyond them is dropped and
counted, never stored. Text is kept as the server gave it, except that control characters go, characters
that UTF-8 cannot carry become U+FFFD, and over-long values are cut at the field's limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

TEXT_LIMIT: Final = 1_024  # characters; Exchange's own limit for most text properties is 255
NOTES_LIMIT: Final = 65_536
LIST_LIMIT: Final = 64

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f]")


def clean_text(value: object, *, limit: int = TEXT_LIMIT) -> str:
    """The value as storable text; an empty string for anything that is no text."""
    if not isinstance(value, str) or not value:
        return ""
    if not value.isprintable():  # neither control characters nor half surrogates are printable
        if not value.isascii():
            value = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        value = _UNPRINTABLE.sub("", value)
    return value[:limit]


def clean_list(values: Iterable[object] | None) -> tuple[str, ...]:
    """The storable texts among the values, empty ones and repetitions left out, order kept."""
    if not values:
        return ()
    cleaned = [text for value in values if (text := clean_text(value))]
    return tuple(dict.fromkeys(cleaned))[:LIST_LIMIT] if len(cleaned) > 1 else tuple(cleaned)


@dataclass(frozen=True, slots=True)
class PostalAddress:
    """A postal address, for labels and maps."""

    street: str = ""
    city: str = ""
    region: str = ""
    postal_code: str = ""
    country: str = ""

    def __bool__(self) -> bool:
        return bool(self.street or self.city or self.region or self.postal_code or self.country)


class Contact:
    """One person's entry. Build it from cleaned values (`clean_text`, `clean_list`); an empty value means "none".

    E-mail addresses come without a scheme (`SMTP:`), the primary one first. A birthday is an ISO date
    (`1985-03-14`). The purpose of every field is to identify, address or reach the person.

    It is not to be changed once made. It keeps what is filled in the form in which that is stored: a first pull makes
    thousands of contacts a second, and most of their fields are empty.

    Raises:
        TypeError: A field is not on the list.
    """

    __slots__ = ("_filled",)

    display_name: str  # identify
    given_name: str
    middle_name: str
    surname: str
    title: str  # honorific, such as "Dr."
    generation: str  # such as "Jr."
    initials: str
    nickname: str
    company: str  # place in an organisation
    department: str
    job_title: str
    office_location: str
    profession: str
    manager: str
    assistant: str
    email_addresses: tuple[str, ...]  # reach
    business_phones: tuple[str, ...]
    home_phones: tuple[str, ...]
    mobile_phone: str
    im_addresses: tuple[str, ...]
    web_page: str
    business_address: PostalAddress
    home_address: PostalAddress
    other_address: PostalAddress
    birthday: str  # private details, as the mailbox owner noted them
    spouse: str
    children: tuple[str, ...]
    notes: str

    def __init__(self, **fields: Any) -> None:
        if unknown := fields.keys() - _EMPTY.keys():
            raise TypeError(f"a contact has no field {min(unknown)}")
        filled = {name: value for name, value in fields.items() if value}
        for name in LIST_FIELDS & filled.keys():
            filled[name] = tuple(filled[name])
        for name in ADDRESS_FIELDS & filled.keys():
            filled[name] = _parts(filled[name])
        self._filled: Mapping[str, Any] = filled

    @classmethod
    def of(cls, filled: Mapping[str, Any]) -> Contact:
        """The contact of which `to_dict` gives this; it is taken as it is, and is the contact's from now on."""
        contact = cls.__new__(cls)
        contact._filled = filled
        return contact

    def to_dict(self) -> Mapping[str, Any]:
        """The fields that hold something, by name, as plain JSON values; not to be changed."""
        return self._filled

    def replace(self, **fields: Any) -> Contact:
        """The contact with other values for some fields."""
        return Contact(**{**self._filled, **fields})

    def __getattr__(self, name: str) -> Any:
        if name not in _EMPTY:
            raise AttributeError(name)
        value = self._filled.get(name, _EMPTY[name])
        return PostalAddress(**value) if isinstance(value, dict) else value

    def __eq__(self, other: object) -> bool:
        return self._filled == other._filled if isinstance(other, Contact) else NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset((name, value) for name, value in self._filled.items() if isinstance(value, str)))

    def __repr__(self) -> str:
        return f"Contact({', '.join(f'{name}={value!r}' for name, value in self._filled.items())})"


def _parts(address: PostalAddress | Mapping[str, str]) -> dict[str, str]:
    if isinstance(address, Mapping):
        return dict(address)
    return {part: text for part in PostalAddress.__slots__ if (text := getattr(address, part))}


LIST_FIELDS: Final = frozenset({"email_addresses", "business_phones", "home_phones", "im_addresses", "children"})
ADDRESS_FIELDS: Final = frozenset({"business_address", "home_address", "other_address"})
FIELD_NAMES: Final = tuple(name for name in Contact.__annotations__ if not name.startswith("_"))
_EMPTY: Final[Mapping[str, Any]] = {
    name: () if name in LIST_FIELDS else PostalAddress() if name in ADDRESS_FIELDS else "" for name in FIELD_NAMES
}
