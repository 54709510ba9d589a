"""Replacing the root key: by a new generation, under a new passphrase, or under another provider.

`vault.toml` and the key database share no transaction. So a move is announced first, as `[coming]` in `vault.toml`
with the generation it begins with; what counts is which generation the key database names as current. Whatever a kill
leaves, exactly one root key opens the vault, and the next opening tidies up.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from syncvault.errors import BusyError, InputError, RootKeyError, StorageError, UsageError
from syncvault.roots.passphrase import PassphraseProvider, WrongPassphraseError
from syncvault.roots.port import Destroyed, Held, Pending, RootKeyProvider
from syncvault.roots.registry import names, require_options
from syncvault.store import keys as key_rows
from syncvault.store import ledger as ledger_rows
from syncvault.store import meta
from syncvault.store.keys import RootRow
from syncvault.vault import anchors
from syncvault.vault import layout as layouts
from syncvault.vault.keyring.destruction import RootChange, may_change
from syncvault.vault.keyring.roots_in_use import AskPassphrase
from syncvault.vault.keyring.wrapped import handle_of
from syncvault.vault.layout import RootPlace
from syncvault.vault.vault import Vault

_BY_PASSPHRASE: Final = PassphraseProvider.name
_KEY_TABLES: Final = ("wrapped_keys", "root_generations")


def rotate(vault: Vault, *, new_passphrase: AskPassphrase | None = None) -> RootChange:
    """Replaces the root key by its next generation, under a new passphrase if one is given.

    Raises:
        BusyError: Somebody else kept reading the vault.
        UsageError: A new passphrase was given, and the provider wants none.
        InputError: The new passphrase is the present one.
        RootKeyError: The provider refused; the present root key stays, or the new one is already in force.
    """
    with vault.alone():
        _settle(vault)
        place, to = vault.layout.root_place, None
        if new_passphrase is not None:
            if place.provider != _BY_PASSPHRASE:
                raise UsageError(
                    f"The provider {place.provider} wants no passphrase.", advice="Leave out --new-passphrase-file."
                )
            to = vault.roots.open(place, new_passphrase)
            _refuse_same(vault, to)
        change = vault.keys.rekey(vault.now, lambda: _switched(vault, place, to), to=to)
        _settle(vault)
    return change


def migrate(vault: Vault, place: RootPlace, *, new_passphrase: AskPassphrase | None = None) -> RootChange:
    """Moves the root key to another provider, or to another place of the same.

    Args:
        vault: The vault.
        place: Where to.
        new_passphrase: Asks for the passphrase of the new root key, if its provider wants one.

    Raises:
        BusyError: Somebody else kept reading the vault.
        UsageError: It is kept there already, or there is no such provider.
        RootKeyError: Either provider refused; the present root key stays, or the new one is already in force.
    """
    if place.provider not in names():
        raise UsageError("There is no such root-key provider.", advice=f"Choose one of: {', '.join(names())}.")
    require_options(place.provider, place.options)
    with vault.alone():
        _settle(vault)
        _refuse_present(vault.layout.root_place, place)
        provider = vault.roots.open(place, new_passphrase)
        if (why := provider.why_unusable()) is not None:
            raise RootKeyError(
                f"The provider {place.provider} cannot be used here: {why}",
                advice="The root key stays where it is; `syncvault init` lists what can be used.",
            )
        coming = replace(place, generation=_current(vault).generation + 1)
        try:
            change = vault.keys.rekey(
                vault.now,
                lambda: _switched(vault, place, provider),
                to=provider,
                before_switch=lambda: _announce(
                    vault, replace(coming, options={**place.options, **provider.remembers})
                ),
            )
        finally:
            _settle(vault)
    return change


def outstanding(change: RootChange) -> tuple[str, ...]:
    """What keeps replaced generations from being destroyed, in a sentence each."""
    left = []
    for generation, outcome in sorted(change.destructions.items()):
        if not isinstance(outcome, Destroyed):
            why = f"pending until {outcome.until}" if isinstance(outcome, Pending) else outcome.why
            left.append(f"root key generation {generation}: {why}")
    return tuple(left)


def finish(vault: Vault) -> None:
    """Finishes what a crash left half done of a root key that was replaced.

    Later, if somebody is at work now, or the provider or the key database refuses; `doctor` reports what is left.
    """
    if not _is_unfinished(vault):
        return
    try:
        with vault.locks.maintenance(exclusive=True, timeout=0):
            _settle(vault)
            left = [root for root in _retired(vault) if may_change(root)]
            if any(root.outstanding is None for root in left):
                vault.key_data.scrub(_KEY_TABLES, timeout=0)
            if left:
                vault.keys.destroy_retired_roots(only_changed=True)
            _settle(vault)
    except (BusyError, RootKeyError, StorageError):
        return


def _is_unfinished(vault: Vault) -> bool:
    announced = vault.layout.coming is not None or bool(vault.layout.replaced)
    return announced or any(may_change(root) for root in _retired(vault))


def _settle(vault: Vault) -> None:
    """Brings `vault.toml` to what the key database says: a move that switched is done, one that did not never was.

    Hold the maintenance lock exclusively.
    """
    found = layouts.load(vault.layout.home)
    layout, current, retired = found, _current(vault).generation, _retired(vault)
    if layout.coming is not None:
        begins = layout.coming.generation
        moved = layout.moved_to(replace(layout.coming, generation=0), last_generation=begins - 1)
        layout = moved if current >= begins else replace(layout, coming=None)
    wanted = [layout.place_of(root.generation) for root in retired if may_change(root)]
    layout = replace(layout, replaced=tuple(left for left in layout.replaced if left in wanted))
    if layout != found:
        layouts.save(layout)
    vault.layout = layout


def _announce(vault: Vault, coming: RootPlace) -> None:
    vault.layout = replace(vault.layout, coming=coming)
    layouts.save(vault.layout)


def _switched(vault: Vault, place: RootPlace, provider: RootKeyProvider | None) -> None:
    """What is to be done between the switch and the destruction of the root key that was replaced."""
    if provider is not None:
        if vault.layout.coming is not None:
            place = vault.layout.coming
        vault.roots.adopt(place, provider)
        with vault.key_data.read() as tx:
            count, entries = meta.number(tx, anchors.COUNT, keys=True), ledger_rows.list_all(tx)
        anchors.hold(provider, Held.COUNT, count)
        anchors.hold(provider, Held.LEDGER, entries[-1].seq if entries else 0)
    _settle(vault)
    vault.key_data.scrub(_KEY_TABLES)


def _refuse_same(vault: Vault, provider: RootKeyProvider) -> None:
    try:
        provider.unwrap(handle_of(_current(vault)))
    except WrongPassphraseError:
        return
    raise InputError("The new passphrase is the present one.", advice="Choose another; nothing was changed.")


def _refuse_present(present: RootPlace, place: RootPlace) -> None:
    if present.provider != place.provider:
        return
    if place.provider == _BY_PASSPHRASE:
        raise UsageError(
            "The root key comes from a passphrase already.",
            advice="Change it with: syncvault key rotate-root --new-passphrase-file F",
        )
    if _bare(present) == _bare(place) or (place.file is None and not place.options):
        raise UsageError(
            f"The provider {place.provider} keeps the root key in that place already.",
            advice="Name another provider or place; `syncvault key rotate-root` replaces the key where it is.",
        )


def _bare(place: RootPlace) -> RootPlace:
    file = place.file.parent.resolve() / place.file.name if place.file else None
    return replace(place, file=file, generation=0)


def _current(vault: Vault) -> RootRow:
    with vault.key_data.read() as tx:
        root = key_rows.current_root(tx)
    if root is None:
        raise RootKeyError("The key store names no root key.", advice="Restore the key store from its backup.")
    return root


def _retired(vault: Vault) -> list[RootRow]:
    with vault.key_data.read() as tx:
        return [root for root in key_rows.roots(tx) if root.state == "retired"]
