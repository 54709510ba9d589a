"""The canonical contact: a closed list of fields, each with its purpose and its limit.

Both adapters map into these fields and into nothing else. What a server sends beyond them is dropped and
counted, never stored. Text is kept as the server gave it, except that control characters go, characters
that UTF-8 cannot carry become U+FFFD, and over-long values are cut at the field's limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
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


@dataclass(frozen=True, slots=True)
class Contact:
    """One person's entry. Build it from cleaned values (`clean_text`, `clean_list`); an empty value means "none".

    E-mail addresses come without a scheme (`SMTP:`), the primary one first. A birthday is an ISO date
    (`1985-03-14`). The purpose of every field is to identify, address or reach the person.
    """

    display_name: str = ""  # identify
    given_name: str = ""
    middle_name: str = ""
    surname: str = ""
    title: str = ""  # honorific, such as "Dr."
    generation: str = ""  # such as "Jr."
    initials: str = ""
    nickname: str = ""
    company: str = ""  # place in an organisation
    department: str = ""
    job_title: str = ""
    office_location: str = ""
    profession: str = ""
    manager: str = ""
    assistant: str = ""
    email_addresses: tuple[str, ...] = ()  # reach
    business_phones: tuple[str, ...] = ()
    home_phones: tuple[str, ...] = ()
    mobile_phone: str = ""
    im_addresses: tuple[str, ...] = ()
    web_page: str = ""
    business_address: PostalAddress = field(default_factory=PostalAddress)
    home_address: PostalAddress = field(default_factory=PostalAddress)
    other_address: PostalAddress = field(default_factory=PostalAddress)
    birthday: str = ""  # private details, as the mailbox owner noted them
    spouse: str = ""
    children: tuple[str, ...] = ()
    notes: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The fields that hold something, by name, as plain JSON values."""
        filled: dict[str, Any] = {}
        for name in FIELD_NAMES:
            value = getattr(self, name)
            if value:
                filled[name] = _address_to_dict(value) if name in ADDRESS_FIELDS else value
        return filled

    @classmethod
    def from_dict(cls, filled: dict[str, Any]) -> Contact:
        """The inverse of `to_dict`; raises TypeError for a field that is not on the list."""
        values = dict(filled)
        for name in LIST_FIELDS & values.keys():
            values[name] = tuple(values[name])
        for name in ADDRESS_FIELDS & values.keys():
            values[name] = PostalAddress(**values[name])
        return cls(**values)


def _address_to_dict(address: PostalAddress) -> dict[str, str]:
    return {part: text for part in PostalAddress.__slots__ if (text := getattr(address, part))}


FIELD_NAMES: Final = tuple(entry.name for entry in fields(Contact))
LIST_FIELDS: Final = frozenset({"email_addresses", "business_phones", "home_phones", "im_addresses", "children"})
ADDRESS_FIELDS: Final = frozenset({"business_address", "home_address", "other_address"})
