"""The root key is replaced, under a new passphrase or by another provider; one root key opens the vault at any time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from syncvault.errors import Exit, InputError, RootKeyError, UsageError
from syncvault.roots.file import FileProvider
from syncvault.roots.port import Destroyed, Handle, Held, NotPossible, Pending, ValueHolder
from syncvault.roots.registry import names
from syncvault.secret import Secret
from syncvault.store import keys as key_rows
from syncvault.store.engine import Database
from syncvault.vault import credentials, layout, tenants
from syncvault.vault.erasing import erasure
from syncvault.vault.keyring import root_rotation
from syncvault.vault.keyring.destruction import RootChange, not_possible_any_more
from syncvault.vault.layout import Layout, RootPlace
from syncvault.vault.opening import create_vault, open_vault
from syncvault.vault.vault import Vault
from tests.integration.vault_parts import NOW, Place, execute, register, rows

FIRST, SECOND = "correct horse", "battery staple"


def states(vault: Vault) -> dict[int, str]:
    with vault.key_data.read() as tx:
        return {root.generation: root.state for root in key_rows.roots(tx)}


def outstanding(vault: Vault) -> dict[int, str | None]:
    with vault.key_data.read() as tx:
        return {root.generation: root.outstanding for root in key_rows.roots(tx)}


def key_file(place: Place) -> Path:
    assert place.layout.root_key_file is not None
    return place.layout.root_key_file


def opens(vault: Vault) -> bool:
    """Whether the vault still opens what is stored under its keys."""
    return bool(credentials.load(vault, tenants.find(vault, "acme")).secret.reveal() == b"s3cr3t-of-acme")


def with_passphrase(place: Place, passphrase: str) -> Vault:
    place.opened.append(open_vault(place.home, passphrase=lambda: Secret(passphrase), clock=lambda: NOW))
    return place.opened[-1]


@pytest.fixture
def passphrase_vault(place: Place) -> Vault:
    place.layout = replace(place.layout, root_key="passphrase", root_key_file=None)
    place.opened.append(create_vault(place.layout, passphrase=lambda: Secret(FIRST), clock=lambda: NOW))
    register(place.opened[-1])
    return place.opened[-1]


def test_a_rotated_root_key_opens_the_vault_and_the_one_before_is_gone(place: Place, vault: Vault) -> None:
    register(vault)
    before = key_file(place).read_bytes()
    change = root_rotation.rotate(vault)
    assert (change.provider, change.generation, change.replaced) == ("file", 2, 1)
    assert change.destructions == {1: Destroyed()}
    assert vault.keys.root == ("file", 2)
    assert states(vault) == {1: "destroyed", 2: "current"}
    assert opens(place.open())
    vault.close()
    key_file(place).write_bytes(before)
    with pytest.raises(RootKeyError, match="does not hold root key generation 2"):
        place.open()


def test_a_process_that_has_the_vault_open_follows_a_rotation_in_another(place: Place, vault: Vault) -> None:
    register(vault)
    other = place.open()
    root_rotation.rotate(vault)
    assert opens(other)
    assert register(other, "globex").id != tenants.find(other, "acme").id


def test_a_process_that_has_the_vault_open_follows_the_root_key_to_another_provider(
    place: Place, vault: Vault, tmp_path: Path
) -> None:
    register(vault)
    other = place.open()
    root_rotation.migrate(vault, RootPlace("file", tmp_path / "elsewhere" / "root.key"))
    assert opens(other)


def test_a_file_moves_to_another_and_is_gone_where_it_was(place: Place, vault: Vault, tmp_path: Path) -> None:
    register(vault)
    change = root_rotation.migrate(vault, RootPlace("file", tmp_path / "elsewhere" / "root.key"))
    assert change.destructions == {1: Destroyed()}
    assert not key_file(place).exists()
    found = layout.load(place.home)
    assert (found.root_key_file, found.coming, found.replaced) == (tmp_path / "elsewhere" / "root.key", None, ())
    assert opens(place.open())


def test_moving_to_where_the_key_lies_already_is_refused(place: Place, vault: Vault) -> None:
    file = key_file(place)
    (file.parent / "sub").mkdir()
    for known in (file, file.parent / "sub" / ".." / file.name, None):
        with pytest.raises(UsageError, match="in that place already") as present:
            root_rotation.migrate(vault, RootPlace("file", known))
        assert present.value.advice.startswith("Name another provider or place")
    with pytest.raises(UsageError, match=r"^There is no such root-key provider") as unknown:
        root_rotation.migrate(vault, RootPlace("nowhere"))
    assert unknown.value.advice == f"Choose one of: {', '.join(names())}."
    with pytest.raises(UsageError, match="knows no option 'pin'"):
        root_rotation.migrate(vault, RootPlace("pkcs11", options={"pin": "1234-5678"}))
    with pytest.raises(RootKeyError, match=r"^The provider file cannot be used here.*in the data directory") as refused:
        root_rotation.migrate(vault, RootPlace("file", place.home / "root.key"))
    assert refused.value.advice.startswith("The root key stays where it is")
    assert layout.load(place.home) == place.layout
    assert states(vault) == {1: "current"}


def test_a_move_that_the_new_provider_refuses_leaves_the_vault_as_it_was(
    place: Place, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(vault)

    def refuse(self: FileProvider, generation: int) -> None:
        raise RootKeyError("Not today.")

    monkeypatch.setattr(FileProvider, "create", refuse)
    with pytest.raises(RootKeyError, match="Not today"):
        root_rotation.migrate(vault, RootPlace("file", tmp_path / "elsewhere" / "root.key"))
    assert layout.load(place.home) == place.layout
    assert opens(place.open())


def test_what_could_not_be_destroyed_at_once_is_destroyed_when_the_vault_is_next_opened(
    place: Place, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(vault)
    with monkeypatch.context() as patch:
        patch.setattr(FileProvider, "destroy", lambda self, handle: Pending("the window of 7 days has passed"))
        root_rotation.migrate(vault, RootPlace("file", tmp_path / "elsewhere" / "root.key"))
    assert outstanding(vault) == {1: "pending: the window of 7 days has passed", 2: None}
    assert [left.file for left in layout.load(place.home).replaced] == [key_file(place)]
    assert key_file(place).exists()
    vault.close()
    again = place.open()
    assert states(again) == {1: "destroyed", 2: "current"}
    assert not key_file(place).exists()
    assert layout.load(place.home).replaced == ()


def test_what_can_never_be_destroyed_is_not_tried_at_every_opening(
    place: Place, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def refuse(self: FileProvider, handle: object) -> NotPossible:
        tried.append(handle)
        return NotPossible("it is carved in stone")

    monkeypatch.setattr(FileProvider, "destroy", refuse)
    root_rotation.rotate(vault)
    assert outstanding(vault)[1] == "not possible: it is carved in stone"
    vault.close()
    place.open()
    assert len(tried) == 1


def test_only_what_may_have_changed_is_tried_again(place: Place, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []

    def refuse(self: FileProvider, handle: Handle) -> NotPossible | Pending:
        tried.append(handle["generation"])
        return NotPossible("it is carved in stone") if handle["generation"] == 1 else Pending("the window has passed")

    monkeypatch.setattr(FileProvider, "destroy", refuse)
    root_rotation.rotate(vault)
    root_rotation.rotate(vault)
    assert tried == [1, 1, 2]  # whoever rotates asks outright
    vault.close()
    tried.clear()
    place.open()
    assert tried == [2]


@pytest.mark.slow
def test_a_new_passphrase_destroys_what_the_old_one_opened(place: Place, passphrase_vault: Vault) -> None:
    first = root_rotation.rotate(passphrase_vault)
    assert isinstance(first.destructions[1], NotPossible)
    second = root_rotation.rotate(passphrase_vault, new_passphrase=lambda: Secret(SECOND))
    assert second.destructions == {1: Destroyed(), 2: Destroyed()}
    assert opens(with_passphrase(place, SECOND))
    with pytest.raises(RootKeyError, match="passphrase is not the one"):
        with_passphrase(place, FIRST)


@pytest.mark.slow
def test_the_present_passphrase_is_no_new_one(passphrase_vault: Vault) -> None:
    with pytest.raises(InputError, match=r"^The new passphrase is the present one") as refused:
        root_rotation.rotate(passphrase_vault, new_passphrase=lambda: Secret(FIRST))
    assert refused.value.advice.startswith("Choose another")
    with pytest.raises(UsageError, match=r"^The root key comes from a passphrase already") as present:
        root_rotation.migrate(passphrase_vault, RootPlace("passphrase"), new_passphrase=lambda: Secret(SECOND))
    assert present.value.advice.startswith("Change it with: syncvault key rotate-root --new-passphrase-file F")
    assert states(passphrase_vault) == {1: "current"}


def test_a_provider_without_a_passphrase_takes_no_new_one(vault: Vault) -> None:
    with pytest.raises(UsageError, match=r"^The provider file wants no passphrase") as refused:
        root_rotation.rotate(vault, new_passphrase=lambda: Secret(SECOND))
    assert refused.value.advice.startswith("Leave out --new-passphrase-file")


@pytest.mark.slow
def test_a_vault_moves_from_a_passphrase_to_a_file_and_on_to_another_passphrase(
    place: Place, passphrase_vault: Vault, tmp_path: Path
) -> None:
    change = root_rotation.migrate(passphrase_vault, RootPlace("file", tmp_path / "key" / "root.key"))
    assert change.destructions == {1: Destroyed()}
    passphrase_vault.close()
    from_file = place.open()
    assert opens(from_file)
    change = root_rotation.migrate(from_file, RootPlace("passphrase"), new_passphrase=lambda: Secret(SECOND))
    assert change.destructions == {2: Destroyed()}
    assert not (tmp_path / "key" / "root.key").exists()
    assert opens(with_passphrase(place, SECOND))


def test_vault_toml_says_where_all_of_it_is_kept(tmp_path: Path) -> None:
    bao = {"address": "https://bao.example", "key": 'a "quoted" name'}
    written = Layout(
        tmp_path,
        "sqlite:////v.db",
        "sqlite:////k.db",
        "openbao",
        tmp_path / "token",
        bao,
        coming=RootPlace("file", tmp_path / "k", {}, 4),
        replaced=(RootPlace("keyring", None, {"a": "b"}, 1), RootPlace("file", tmp_path / "old", {}, 2)),
    )
    layout.save(written)
    found = layout.load(tmp_path)
    assert found == written
    kept_by = {generation: found.place_of(generation).provider for generation in range(1, 6)}
    assert kept_by == {1: "keyring", 2: "file", 3: "openbao", 4: "file", 5: "file"}


def test_a_privileged_step_ends_with_12_and_changes_nothing(
    place: Place, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 65534)
    monkeypatch.delenv("SYSTEMD_CREDENTIAL_SECRET", raising=False)
    with pytest.raises(RootKeyError) as refusal:
        root_rotation.migrate(vault, RootPlace("systemd", tmp_path / "root.cred"))
    assert refusal.value.exit_code is Exit.ROOT_KEY
    assert layout.load(place.home) == place.layout


# What a kill leaves


@pytest.mark.parametrize("is_destroyed", [True, False])
def test_a_move_that_was_killed_after_the_switch_is_done_at_the_next_opening(
    place: Place, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_destroyed: bool
) -> None:
    register(vault)
    before, there = layout.load(place.home), RootPlace("file", tmp_path / "elsewhere" / "root.key")
    if not is_destroyed:
        monkeypatch.setattr(FileProvider, "destroy", lambda self, handle: Pending("tonight"))
    root_rotation.migrate(vault, there)
    done = layout.load(place.home)
    assert [one.generation for one in done.replaced] == ([] if is_destroyed else [1])
    vault.close()
    layout.save(replace(before, coming=replace(there, generation=2)))
    assert opens(place.open())
    assert layout.load(place.home) == done


def test_a_move_that_was_killed_before_the_switch_never_was(place: Place, vault: Vault, tmp_path: Path) -> None:
    register(vault)
    vault.close()
    before = layout.load(place.home)
    layout.save(replace(before, coming=RootPlace("file", tmp_path / "elsewhere" / "root.key", generation=2)))
    assert opens(place.open())
    assert layout.load(place.home) == before


def test_a_root_key_that_others_still_use_is_left_for_later(
    place: Place, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(FileProvider, "destroy", lambda self, handle: Pending("a moment"))
        root_rotation.rotate(vault)
    with vault.locks.maintenance(exclusive=False, timeout=0):
        place.open()
        assert states(vault) == {1: "retired", 2: "current"}
    place.open()
    assert states(vault) == {1: "destroyed", 2: "current"}


def test_what_a_kill_left_of_a_root_key_is_scrubbed_away_before_that_is_destroyed(
    place: Place, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[object] = []
    destroy, scrub = FileProvider.destroy, Database.scrub

    def destroyed(self: FileProvider, handle: Handle) -> object:
        steps.append("destroy")
        return destroy(self, handle)

    def scrubbed(self: Database, tables: tuple[str, ...] = (), **options: Any) -> object:
        steps.append(tables)
        return scrub(self, tables, **options)

    with monkeypatch.context() as patch:
        patch.setattr(FileProvider, "destroy", lambda self, handle: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            root_rotation.rotate(vault)
    vault.close()
    monkeypatch.setattr(FileProvider, "destroy", destroyed)
    monkeypatch.setattr(Database, "scrub", scrubbed)
    place.open()
    assert steps == [("wrapped_keys", "root_generations"), "destroy"]
    steps.clear()
    place.open()
    assert steps == []


@pytest.mark.parametrize("database_urls", ["sqlite"], indirect=True)
@pytest.mark.parametrize("moves", [False, True])
def test_what_the_old_root_key_opens_is_overwritten_before_that_is_destroyed(
    place: Place, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, moves: bool
) -> None:
    register(vault)
    blobs = [bytes(row[6]) for row in rows(vault.key_data, "wrapped_keys")]
    left, destroy = [], FileProvider.destroy

    def found() -> int:
        content = b"".join(path.read_bytes() for path in place.home.glob("keys.db*"))
        return sum(blob in content for blob in blobs)

    def look_first(self: FileProvider, handle: Handle) -> object:
        left.append(found())
        return destroy(self, handle)

    assert found() == len(blobs)
    monkeypatch.setattr(FileProvider, "destroy", look_first)
    if moves:
        root_rotation.migrate(vault, RootPlace("file", tmp_path / "elsewhere" / "root.key"))
    else:
        root_rotation.rotate(vault)
    assert left == [0]


def test_the_new_place_holds_the_numbers_that_the_old_one_held(vault: Vault, tmp_path: Path) -> None:
    erasure.erase(vault, register(vault, "gone"), reason=erasure.ON_DEMAND, role="root")
    register(vault)
    vault.anchor()
    before = vault.keys.provider
    assert isinstance(before, ValueHolder)
    held = {what: before.held(what) for what in Held}
    assert all(held.values())
    root_rotation.migrate(vault, RootPlace("file", tmp_path / "elsewhere" / "root.key"))
    after = vault.keys.provider
    assert isinstance(after, ValueHolder)
    assert after is not before
    assert {what: after.held(what) for what in Held} == held


def test_a_key_store_that_names_no_root_key_says_so(vault: Vault) -> None:
    execute(vault.key_data, "UPDATE root_generations SET state = 'retired'")
    for look in (lambda: root_rotation.rotate(vault), vault.keys.follow_root):
        with pytest.raises(RootKeyError, match=r"^The key store names no root key") as refused:
            look()
        assert refused.value.advice.startswith("Restore the key store from its backup")


def test_what_is_left_of_replaced_root_keys_is_said_in_a_sentence_each() -> None:
    became = {3: Pending("tonight"), 2: Destroyed(), 1: NotPossible("it is carved in stone")}
    assert root_rotation.outstanding(RootChange("file", 4, 3, became)) == (
        "root key generation 1: it is carved in stone",
        "root key generation 3: pending until tonight",
    )


@pytest.mark.parametrize(
    ("recorded", "why"),
    [
        ("pending: tonight", "tonight"),
        ("not possible: it is carved in stone", "it is carved in stone"),
        (None, "it was kept by the provider file, which this vault has left"),
    ],
)
def test_of_a_provider_that_was_left_what_was_recorded_last_stands(
    vault: Vault, recorded: str | None, why: str
) -> None:
    with vault.key_data.read() as tx:
        root = key_rows.current_root(tx)
    assert root is not None
    assert not_possible_any_more(root._replace(outstanding=recorded)) == NotPossible(why)
