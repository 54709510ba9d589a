"""Which root-key providers there are; none is imported before it is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from syncvault.errors import UsageError
from syncvault.roots.port import ProviderSettings, RootKeyProvider


def _keyring(settings: ProviderSettings) -> RootKeyProvider:
    from syncvault.roots.keyring import KeyringProvider  # noqa: PLC0415  (lazy: loads the desktop's keyring libraries)

    return KeyringProvider(settings)


def _systemd(settings: ProviderSettings) -> RootKeyProvider:
    from syncvault.roots.systemd import SystemdProvider  # noqa: PLC0415  (lazy)

    return SystemdProvider(settings)


def _passphrase(settings: ProviderSettings) -> RootKeyProvider:
    from syncvault.roots.passphrase import PassphraseProvider  # noqa: PLC0415  (lazy: loads cryptography)

    return PassphraseProvider(settings)


def _file(settings: ProviderSettings) -> RootKeyProvider:
    from syncvault.roots.file import FileProvider  # noqa: PLC0415  (lazy)

    return FileProvider(settings)


PROVIDERS: Mapping[str, Callable[[ProviderSettings], RootKeyProvider]] = MappingProxyType(
    {"keyring": _keyring, "systemd": _systemd, "passphrase": _passphrase, "file": _file}
)


class Candidate(NamedTuple):
    """What `init` shows of one provider."""

    name: str
    usable: bool
    why: str  # why it is not usable; empty if it is
    describes: str


def open_provider(name: str, settings: ProviderSettings) -> RootKeyProvider:
    """The provider of that name.

    Raises:
        UsageError: There is none.
    """
    factory = PROVIDERS.get(name)
    if factory is None:
        raise UsageError(f"Unknown root-key provider: {name}.", advice=f"Choose one of: {', '.join(PROVIDERS)}.")
    return factory(settings)


def survey(settings: ProviderSettings) -> list[Candidate]:
    """Every provider, whether it can be used here, and what it protects against; asks nobody for anything."""
    candidates = []
    for name in PROVIDERS:
        provider = open_provider(name, settings)
        why = provider.why_unusable()
        candidates.append(Candidate(name, usable=why is None, why=why or "", describes=provider.describe()))
    return candidates
