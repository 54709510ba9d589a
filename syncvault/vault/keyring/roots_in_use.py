"""Which provider keeps which generation of the root key, as `vault.toml` says it.

Usually one provider keeps all. While the root key moves, and until what it left behind is destroyed, there are two.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from syncvault.roots.passphrase import LeftPassphraseProvider, PassphraseProvider
from syncvault.roots.port import ProviderSettings, RootKeyProvider
from syncvault.roots.registry import open_provider
from syncvault.secret import Secret
from syncvault.store.keys import RootRow
from syncvault.vault import layout as layouts
from syncvault.vault.layout import Layout, RootPlace

AskPassphrase = Callable[[], Secret]


class RootsInUse:
    """The providers of one vault, each opened when it is first wanted."""

    def __init__(self, layout: Layout, vault_id: bytes, passphrase: AskPassphrase | None) -> None:
        self._layout = layout
        self._vault_id = UUID(bytes=vault_id)
        self._passphrase = passphrase
        self._opened: list[tuple[RootPlace, RootKeyProvider]] = []

    def of(self, root: RootRow) -> RootKeyProvider:
        """The provider that keeps a generation now; another process may have moved it since the vault was opened.

        Raises:
            RootKeyError: The package that brings it cannot be loaded.
        """
        if layouts.exists(self._layout.home):
            self._layout = layouts.load(self._layout.home)
        return self._at(self._layout.place_of(root.generation))

    def close(self) -> None:
        """Drops the providers that were opened, with what they hold in memory."""
        self._opened.clear()

    def keeper_of(self, root: RootRow) -> RootKeyProvider | None:
        """The provider that can still destroy a replaced generation; None if `vault.toml` no longer names it."""
        found = self.of(root)
        if root.provider == PassphraseProvider.name:  # nothing is kept of it: what counts is the passphrase in use
            if self._layout.root_key != root.provider:
                return LeftPassphraseProvider(self._settings(self._layout.root_place, None))
            found = self._at(self._layout.root_place)
        return found if found.name == root.provider else None

    def open(self, place: RootPlace, passphrase: AskPassphrase | None = None) -> RootKeyProvider:
        """The provider at a place, with another passphrase to ask for if one is given; not taken into use yet.

        Raises:
            UsageError: There is none of that name.
            RootKeyError: The package that brings it cannot be loaded.
        """
        return open_provider(place.provider, self._settings(place, passphrase or self._passphrase))

    def adopt(self, place: RootPlace, provider: RootKeyProvider) -> None:
        """Takes a provider into use for a place, so that it need not be opened, or ask for a passphrase, again."""
        bare = replace(place, generation=0)
        self._opened = [(known, each) for known, each in self._opened if known != bare] + [(bare, provider)]

    def _at(self, place: RootPlace) -> RootKeyProvider:
        bare = replace(place, generation=0)
        for known, provider in self._opened:
            if known == bare:
                return provider
        provider = self.open(place)
        self.adopt(place, provider)
        return provider

    def _settings(self, place: RootPlace, passphrase: AskPassphrase | None) -> ProviderSettings:
        return ProviderSettings(
            vault_id=self._vault_id,
            root_key_file=place.file,
            options=place.options,
            home=self._layout.home,
            passphrase=passphrase,
            environment=os.environ,
        )
