"""Values as an administrator gives them: each parser returns the canonical form or says what is wrong and shows one.

`name` is what the value was given for (`--directory-id`, or a key of an import file). Refusals name it, show an
example, and never repeat the value: it may be personal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from syncvault.errors import UsageError

CLOUDS: Final = ("global", "us-gov", "us-dod", "china")
LOCALES: Final = ("en", "de")
TERMS: Final = ("P1M", "P1Y")
TEXT_LIMIT: Final = 256
PATH_LIMIT: Final = 1024

EXAMPLES: Final = {
    "NAME": "acme-berlin",
    "TENANT": "acme-berlin",
    "--directory-id": "72f988bf-86f1-41af-91ab-2d7cd011db47",
    "--client-id": "04b07795-8ddb-461a-bbee-02f9e1bf7b46",
    "--ews-url": "https://mail.example.com/EWS/Exchange.asmx",
    "--username": "EXAMPLE\\svc-contacts",
    "--token-url": "https://adfs.example.com/adfs/oauth2/token",
    "--token-scope": "https://mail.example.com/.default",
    "--department": "Sales",
    "--company": "Contoso",
    "--admin-mail": "admin@example.com",
    "--until": "2027-12-31",
    "--ends": "2027-12-31",
    "--out": "contacts.vcf",
    "--format": "vcard",
    "--public-key": "vault-receipts.pem",
    "--root-key": "keyring",
    "--root-key-option": "address=https://bao.example.com:8200",
}

_GUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_ADDRESS: Final = re.compile(
    r"[^\s@<>()\[\],;:\"\\]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W_](?:[\w-]{0,61}[^\W_])?"
)
_HOST: Final = re.compile(r"\[[0-9a-f:.]+\]|[^\W_](?:[\w.-]{0,251}[^\W_])?")
_FIRST_YEAR, _LAST_YEAR = 1970, 2999  # beyond, purge dates would leave what dates can hold


def tenant_name(text: str, name: str = "NAME") -> str:
    """The name of a tenant in syncvault."""
    if not _NAME.fullmatch(text):
        raise _wrong(name, "a name of up to 63 of a-z, 0-9 and -, not beginning with -", "acme-berlin")
    return text


def guid(text: str, name: str) -> str:
    """A GUID in lower case."""
    if not _GUID.fullmatch(text):
        raise _wrong(name, "a GUID", EXAMPLES["--directory-id"])
    return text.lower()


def own_id(text: str, name: str) -> bytes:
    """The 16 bytes of an ID that one of our lists shows."""
    try:
        return UUID(text).bytes
    except ValueError:
        raise _wrong(name, "an ID as the lists show it", "3f0e6b9e-8d55-4f6e-9f0a-5a1d0c3b2a11") from None


def day(text: str, name: str) -> date:
    """A date in ISO form."""
    try:
        parsed = date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        parsed = None
    if parsed is None or not _FIRST_YEAR <= parsed.year <= _LAST_YEAR:
        raise _wrong(name, "a date", "2027-12-31")
    return parsed


def address(text: str, name: str) -> str:
    """An e-mail address, as given."""
    if len(text) > TEXT_LIMIT or not text.isprintable() or not _ADDRESS.fullmatch(text):
        raise _wrong(name, "an e-mail address", "anna@example.com")
    return text


def domain(text: str, name: str) -> str:
    """The domain of e-mail addresses, in lower case."""
    if len(text) > TEXT_LIMIT or not _ADDRESS.fullmatch(f"x@{text}"):
        raise _wrong(name, "a domain", "example.com")
    return text.lower()


def origin(text: str, name: str) -> str:
    """An https URL without a path, as `https://host[:port]`."""
    scheme_and_host, path = _https(text, name, "https://login.microsoftonline.com")
    if path not in {"", "/"}:
        raise _wrong(name, "an https URL without a path", "https://login.microsoftonline.com")
    return scheme_and_host


def url(text: str, name: str) -> str:
    """A whole https URL."""
    example = EXAMPLES.get(name, EXAMPLES["--ews-url"])
    scheme_and_host, path = _https(text, name, example)
    if path in {"", "/"}:
        raise _wrong(name, "the whole https URL with its path", example)
    return scheme_and_host + path


def zone(text: str, name: str) -> str:
    """The name of a time zone in the IANA database."""
    try:
        known = ZoneInfo(text).key in available_timezones()
    except (LookupError, ValueError, OSError):  # a directory of the database, or a path out of it
        known = False
    if not known:
        raise _wrong(name, "a time zone by its IANA name", "Europe/Berlin")
    return text


def choice(text: str, name: str, choices: Iterable[str]) -> str:
    """One of a closed set."""
    allowed = list(choices)
    if text not in allowed:
        raise UsageError(
            f"The value of {name} is not one of those known.", advice=f"Give one of: {', '.join(allowed)}."
        )
    return text


def plain_text(value: str, name: str) -> str:
    """A short text without control characters."""
    if len(value) > TEXT_LIMIT or not value.isprintable():
        raise _wrong(name, f"a text of at most {TEXT_LIMIT} printable characters", "K-2027-0815")
    return value


def filled_text(value: str, name: str) -> str:
    """A short text that says something."""
    if not value.strip():
        example = EXAMPLES.get(name, EXAMPLES["--department"])
        raise UsageError(f"The value of {name} is empty.", advice=f"Give it like {example}, or leave {name} out.")
    return plain_text(value.strip(), name)


def folder_path(text: str, name: str) -> str:
    """The path of a folder, its names joined by `/`, without one at either end."""
    path = text.strip().strip("/")
    if len(path) > PATH_LIMIT or not path.isprintable() or not all(part.strip() for part in path.split("/")):
        raise _wrong(name, "the path of a folder", "Sales/Customers")
    return path


def account(text: str, name: str) -> str:
    """The name of a service account."""
    if not text or len(text) > TEXT_LIMIT or not text.isprintable():
        raise _wrong(name, "the name of an account", f"{EXAMPLES['--username']} or svc-contacts@example.com")
    return text


def root_key_options(given: Iterable[str] | None) -> dict[str, str]:
    """What `--root-key-option NAME=VALUE` was given, by name."""
    options: dict[str, str] = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        if not (name and equals and value):
            raise _wrong("--root-key-option", "NAME=VALUE", EXAMPLES["--root-key-option"])
        options[name] = value
    return options


def _https(text: str, name: str, example: str) -> tuple[str, str]:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _wrong(name, "an https URL", example) from None
    # urlsplit drops line breaks and tabs silently; what was given must be what is used.
    clean = text.isprintable() and " " not in text and "\\" not in text
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(f":{port}")
    if not clean or parts.scheme != "https" or not _HOST.fullmatch(host):
        raise _wrong(name, "an https URL", example)
    if "@" in parts.netloc or parts.query or parts.fragment or text.endswith(("?", "#")):
        raise _wrong(name, "an https URL without user, query or fragment", example)
    return f"https://{host}" + (f":{port}" if port not in {None, 443} else ""), parts.path


def _wrong(name: str, wanted: str, example: str) -> UsageError:
    return UsageError(f"The value of {name} is not {wanted}.", advice=f"Give it like {example}")
