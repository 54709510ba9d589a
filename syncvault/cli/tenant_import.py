"""Import files: TOML with one `[[tenant]]` table each, keys named as the options are, secrets by file reference."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from syncvault.cli import credential_in, registration, secrets_in
from syncvault.cli.given import Given
from syncvault.errors import InputError, SyncvaultError, UsageError
from syncvault.vault.model import Credential, TenantKind, TenantProfile

_COMMON: Final = frozenset(
    {"name", "admin-mail", "billing-mail", "customer-number", "trial-until", "paid-until", "term"}
    | {"time-zone", "locale", "ca-bundle", "no-probe", "kind", "profile", "folder", "photo-size", "include-private"}
)
_ONLINE: Final = frozenset(
    {"directory-id", "client-id", "cloud", "authority", "graph-url", "no-proxy"}
    | {"certificate", "certificate-password-file", "secret-file", "secret-expires"}
    | {"managed-identity", "identity-client-id", "workload-identity", "federated-token-file"}
)
_ONPREM: Final = frozenset(
    {"ews-url", "autodiscover", "username", "auth", "password-file", "keytab", "ccache"}
    | {"token-url", "client-id", "token-scope", "secret-file", "secret-expires"}
)
_FILES: Final = frozenset(
    {"ca-bundle", "certificate", "certificate-password-file", "federated-token-file"}
    | {"secret-file", "password-file", "keytab", "ccache"}
)
_TRUTHS: Final = frozenset(
    {"no-probe", "include-private", "no-proxy", "managed-identity", "workload-identity", "autodiscover"}
)
_EXAMPLE: Final = 'Begin each tenant with [[tenant]] and go on with lines like: name = "acme"'


@dataclass(frozen=True)
class Candidate:
    """A tenant of an import file, checked."""

    profile: TenantProfile
    credential: Credential
    wants_probe: bool


def read_import(path: Path) -> list[Candidate]:
    """Every tenant of an import file; all of them are right, or none is returned.

    Raises:
        UsageError: The file is missing, is no TOML, or a value in it is malformed.
        InputError: A credential cannot be used, or two tenants have one name.
    """
    content = secrets_in.read_file(path, "FILE")
    try:
        tables = tomllib.loads(content.decode("utf-8"))
    except ValueError as error:
        reason = "" if isinstance(error, UnicodeDecodeError) else f": {error}"
        raise UsageError(f"The file to import is not TOML{reason}.", advice=_EXAMPLE) from None
    listed = tables.pop("tenant", [])
    if tables or not isinstance(listed, list) or not all(isinstance(table, dict) for table in listed):
        raise UsageError("The file to import holds something other than [[tenant]] tables.", advice=_EXAMPLE)
    candidates = [_candidate(position, table, path.parent) for position, table in enumerate(listed, 1)]
    names = [candidate.profile.name for candidate in candidates]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"The file to import names the tenant {twice} twice.", advice="Choose another name for one.")
    return candidates


def _candidate(position: int, table: Mapping[str, Any], directory: Path) -> Candidate:
    where = f"tenant {position}"
    kind = _kind(where, table)
    allowed = _COMMON | (_ONLINE if kind is TenantKind.ONLINE else _ONPREM)
    texts = {key: _text(where, key, value, allowed, directory) for key, value in table.items()}
    given = Given(texts, label=f"{where}: {{}}".format)
    try:
        return Candidate(
            registration.profile(kind, given), _credential(kind, given), wants_probe=not texts.get("no-probe")
        )
    except SyncvaultError as error:
        if not error.message.startswith(where) and where not in error.message:
            error.message = f"{where}: {error.message}"
        raise


def _credential(kind: TenantKind, given: Given) -> Credential:
    # Nobody is asked at a prompt in the middle of an import.
    ways = credential_in.ways_of(kind, given)
    if not any(given.texts.get(way) for way in ways):
        if kind is TenantKind.ONPREM:
            by_file = next(way for way in ways if not way.endswith("-stdin"))
            raise UsageError(f"{given.label(by_file)} is missing.", advice=f"Name a file by {by_file}.")
        advice = "Name a file by certificate or secret-file, or set managed-identity or workload-identity to true."
        raise UsageError(f"{given.label('secret-file')} is missing.", advice=advice)
    return credential_in.credential(kind, given)


def _kind(where: str, table: Mapping[str, Any]) -> TenantKind:
    named = table.get("kind") or ("onprem" if {"ews-url", "autodiscover"} & set(table) else "online")
    try:
        return TenantKind(named)
    except ValueError:
        raise UsageError(f"{where}: kind is not one of those known.", advice="Give online or onprem.") from None


def _text(where: str, key: str, value: object, allowed: frozenset[str], directory: Path) -> object:
    if key not in allowed:
        near = difflib.get_close_matches(key, allowed, n=1)
        advice = f"Did you mean {near[0]}?" if near else f"Known are: {', '.join(sorted(allowed))}."
        raise UsageError(f"{where}: unknown key {key!r}.", advice=advice)
    if key in _TRUTHS:
        if isinstance(value, bool):
            return value
        raise UsageError(f"{where}: {key} is neither true nor false.", advice=f"Give it like {key} = true")
    if key == "folder":
        if isinstance(value, list) and all(isinstance(pattern, str) for pattern in value):
            return value
        raise UsageError(f"{where}: folder is not a list of texts.", advice='Give it like folder = ["Customers*"]')
    if isinstance(value, date):  # TOML has dates of its own
        return value.isoformat()
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UsageError(f"{where}: {key} is not a text.", advice=f'Give it like {key} = "…"')
    return str(directory / str(value)) if key in _FILES and value else str(value)
