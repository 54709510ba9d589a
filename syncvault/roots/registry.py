"""Which root-key providers there are; none is imported before it is wanted.

Other packages add theirs by an entry point in the group `syncvault.roots`; the names of ours are taken.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import Final, NamedTuple, cast

from syncvault.errors import RootKeyError, UsageError
from syncvault.roots.port import ProviderSettings, RootKeyProvider

GROUP: Final = "syncvault.roots"

_OURS: Final = {
    "keyring": "syncvault.roots.keyring:KeyringProvider",
    "systemd": "syncvault.roots.systemd:SystemdProvider",
    "passphrase": "syncvault.roots.passphrase:PassphraseProvider",
    "file": "syncvault.roots.file:FileProvider",
    "openbao": "syncvault.roots.openbao:OpenBaoProvider",
    "pkcs11": "syncvault.roots.pkcs11:Pkcs11Provider",
    "aws-kms": "syncvault.roots.aws_kms:AwsKmsProvider",
}

Factory = Callable[[ProviderSettings], RootKeyProvider]


class Candidate(NamedTuple):
    """What `init` shows of one provider."""

    name: str
    usable: bool
    why: str  # why it is not usable; empty if it is
    describes: str


@cache
def names() -> tuple[str, ...]:
    """The providers' names, ours first."""
    return (*_OURS, *sorted({entry.name for entry in entry_points(group=GROUP)} - set(_OURS)))


def open_provider(name: str, settings: ProviderSettings) -> RootKeyProvider:
    """The provider of that name.

    Raises:
        UsageError: There is none.
        RootKeyError: The package that brings it cannot be loaded.
    """
    if name not in names():
        raise UsageError(f"Unknown root-key provider: {name}.", advice=f"Choose one of: {', '.join(names())}.")
    return _load(name)(settings)


def survey(settings: ProviderSettings) -> list[Candidate]:
    """Every provider, whether it can be used here, and what it protects against; asks nobody for anything."""
    return [_candidate(name, settings) for name in names()]


def _candidate(name: str, settings: ProviderSettings) -> Candidate:
    try:
        provider = open_provider(name, settings)
    except RootKeyError as error:
        return Candidate(name, usable=False, why=error.message, describes="")
    why = provider.why_unusable()
    return Candidate(name, usable=why is None, why=why or "", describes=provider.describe())


def _load(name: str) -> Factory:
    if name in _OURS:
        module, _, factory = _OURS[name].partition(":")
        return cast("Factory", getattr(importlib.import_module(module), factory))
    (entry,) = [each for each in entry_points(group=GROUP) if each.name == name][:1]
    try:
        return cast("Factory", entry.load())
    except Exception as error:  # whatever a foreign package fails with when it is imported
        raise RootKeyError(
            f"The root-key provider {name} cannot be loaded: {type(error).__name__}.",
            advice="Repair or remove the package that brings it.",
        ) from error
