"""Which root-key providers there are; none is imported before it is wanted.

Other packages add theirs by an entry point in the group `syncvault.roots`; the names of ours are taken.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
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
    "azure-keyvault": "syncvault.roots.azure_keyvault:AzureKeyVaultProvider",
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
    if name in _OURS:
        return _ours(name)(settings)
    return _open_foreign(name, settings)


def require_options(name: str, options: Iterable[str]) -> None:
    """Refuses options that a provider of ours does not take: kept they would do nothing, and could hold a secret.

    Raises:
        UsageError: It does not take one of them.
    """
    if name not in _OURS:
        return
    takes = cast("RootKeyProvider", _ours(name)).takes
    for unknown in sorted(set(options) - takes):
        raise UsageError(
            f"The provider {name} knows no option {unknown!a}.",
            advice=f"It takes: {', '.join(sorted(takes)) or 'none'}. Give no secrets as options.",
        )


def _ours(name: str) -> Factory:
    module, _, factory = _OURS[name].partition(":")
    return cast("Factory", getattr(importlib.import_module(module), factory))


def survey(settings: ProviderSettings, files: Mapping[str, Path] | None = None) -> list[Candidate]:
    """Every provider, whether it can be used here, and what it protects against; asks nobody for anything.

    Args:
        settings: What all of them are told.
        files: The `root_key_file` of single providers, by name. It may hold a token or a PIN, which no other one is
            to send anywhere.
    """
    return [
        _candidate(name, replace(settings, root_key_file=(files or {}).get(name, settings.root_key_file)))
        for name in names()
    ]


def _candidate(name: str, settings: ProviderSettings) -> Candidate:
    try:
        provider = open_provider(name, settings)
        why, describes = provider.why_unusable(), provider.describe()
    except RootKeyError as error:
        why, describes = error.message, ""
    except Exception as error:  # a foreign factory fails in its own way
        if name in _OURS:
            raise
        why, describes = _broken(name, error).message, ""  # a foreign package may fail in any way
    return Candidate(name, usable=why is None, why=why or "", describes=describes)


def _open_foreign(name: str, settings: ProviderSettings) -> RootKeyProvider:
    entry = next(each for each in entry_points(group=GROUP) if each.name == name)
    try:
        return cast("Factory", entry.load())(settings)
    except RootKeyError:
        raise
    except Exception as error:  # whatever a foreign package fails with
        raise _broken(name, error) from error


def _broken(name: str, error: Exception) -> RootKeyError:
    return RootKeyError(
        f"The root-key provider {name} cannot be loaded: {type(error).__name__}.",
        advice="Repair or remove the package that brings it.",
    )
