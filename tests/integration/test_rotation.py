"""A tenant's keys are rotated beside whatever else goes on; nothing is lost, and nothing is left under the old ones."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from syncvault.crypto.record import row_version
from syncvault.errors import BusyError, DamagedError, InputError, NotFoundError
from syncvault.retention import purge
from syncvault.store import contacts as contact_rows
from syncvault.store import keys as key_rows
from syncvault.store import resealing as sealed_rows
from syncvault.store.locks import TenantBusyError
from syncvault.sync import lots
from syncvault.sync.summary import Status
from syncvault.vault import tenants, verify
from syncvault.vault.content import sources
from syncvault.vault.erasing import erasure
from syncvault.vault.keyring import resealing, rotation
from syncvault.vault.keyring.keys import IDLE_SECONDS, KeyRing
from syncvault.vault.keyring.rotation import NOBODY, Follower
from syncvault.vault.keyring.wrapped import Purpose
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange, contact
from tests.integration.killed import first_scene, second_scene
from tests.integration.rotating import everything, generations, indexes, is_sound
from tests.integration.vault_parts import NOW, Place, execute, held, register, rows, sync

DATA, INDEX = {Purpose.DATA}, {Purpose.INDEX}


@pytest.fixture
def exchange(exchange: FakeExchange) -> FakeExchange:
    exchange.__dict__.update(first_scene().__dict__)
    return exchange


@pytest.fixture
def tenant(vault: Vault, exchange: FakeExchange) -> Tenant:
    """A tenant with everything that can be stored of one, and one full round that was not finished."""
    tenant = register(vault, "acme", "g:all", "ann")
    assert sync(vault, tenant).status == Status.OK
    _interrupt_a_full_round(vault, tenant, exchange)
    return tenant


def _interrupt_a_full_round(vault: Vault, tenant: Tenant, exchange: FakeExchange) -> None:
    exchange.expired.add("ann-inbox")

    def stop_after_one(_: int) -> None:
        if rows(vault.data, "seen"):
            raise BusyError("Stopped by the test.")

    exchange.after_page = stop_after_one
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lots, "_WORTH_COMMITTING", 1)  # otherwise the page would wait for the end of the round
        assert sync(vault, tenant, mailboxes=1).status == Status.BUSY
    exchange.after_page = lambda count: None
    assert rows(vault.data, "seen")


def wrapped(vault: Vault, tenant: Tenant) -> list[tuple[str, int, str, bool]]:
    with vault.key_data.read() as tx:
        found = key_rows.of_tenant(tx, tenant.id)
    return [(row.purpose, row.generation, row.state, row.retired_at is not None) for row in found]


def test_after_a_rotation_of_the_data_key_no_record_names_the_old_one(vault: Vault, tenant: Tenant) -> None:
    before, indexed = everything(vault), indexes(vault)
    records = sum(len(rows(vault.data, table)) * len(columns) for table, columns in sealed_rows.SEALED.items())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resealing, "PAGE", 3)
        assert rotation.rotate(vault, tenant, DATA) == records
    assert generations(vault) == {2}
    assert everything(vault) == before
    assert indexes(vault) == indexed
    assert wrapped(vault, tenant) == [
        ("data", 1, "retired", True),
        ("data", 2, "current", False),
        ("index", 1, "current", False),
    ]
    assert is_sound(vault, tenant)


def test_after_a_rotation_of_the_index_key_no_index_is_what_it_was(vault: Vault, tenant: Tenant) -> None:
    before, indexed, seen = everything(vault), indexes(vault), len(rows(vault.data, "seen"))
    rotation.rotate(vault, tenant, INDEX)
    assert indexes(vault).isdisjoint(indexed)
    assert len(indexes(vault)) == len(indexed)
    assert len(rows(vault.data, "seen")) == seen
    assert everything(vault) == before
    assert sources.mailbox(vault, tenant, "ANN@example.com").key == "ann"
    assert is_sound(vault, tenant)


def versions(vault: Vault) -> dict[tuple[str, bytes], int]:
    """How often each record says that it was sealed."""
    found = {}
    for table, column in (("tenants", "profile"), ("credentials", "blob"), ("folders", "blob"), ("contacts", "blob")):
        with vault.read() as tx:
            for row_id, blob in tx.exec_driver_sql(f"SELECT id, {column} FROM {table}"):
                found[table, bytes(row_id)] = row_version(bytes(blob))
    return found


def test_a_record_that_counts_how_often_it_was_sealed_goes_on_counting(vault: Vault, tenant: Tenant) -> None:
    before = versions(vault)
    rotation.rotate(vault, tenant, DATA)
    assert versions(vault) == {
        (table, row): 1 if table == "credentials" else count + 1 for (table, row), count in before.items()
    }


def test_many_photos_go_a_few_at_a_time(vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(vault)
    assert len(before["photos"]) > 1
    monkeypatch.setattr(resealing, "_PHOTOS_AT_ONCE", 1)
    rotation.rotate(vault, tenant, DATA)
    assert (generations(vault), everything(vault)) == ({2}, before)


def test_a_rotation_of_both_can_follow_another(place: Place, vault: Vault, tenant: Tenant) -> None:
    before = everything(vault)
    rotation.rotate(vault, tenant)
    rotation.rotate(vault, tenant)
    assert generations(vault) == {3}
    again = place.open()
    assert everything(again) == before
    assert rotation.unfinished(again, tenant.id) == set()


@pytest.mark.parametrize("purposes", [DATA, INDEX])
def test_a_sync_goes_on_where_it_was_after_a_rotation(
    vault: Vault, tenant: Tenant, exchange: FakeExchange, purposes: set[Purpose]
) -> None:
    rotation.rotate(vault, tenant, purposes)
    exchange.__dict__.update(second_scene().__dict__)
    exchange.expired.clear()
    assert sync(vault, tenant).status == Status.OK  # ends the full round, where it was
    assert sync(vault, tenant).status == Status.OK
    names = {item: name for item, (_, name) in held(vault, tenant)["ann"].items()}
    assert names == {"card": "Card of ann", "a1": "Contact a1", "a2": "Changed", "a4": "Contact a4"}
    assert rows(vault.data, "seen") == []


def test_a_second_run_over_a_rotated_tenant_changes_nothing(
    vault: Vault, tenant: Tenant, exchange: FakeExchange
) -> None:
    sync(vault, tenant)
    rotation.rotate(vault, tenant)
    again = sync(vault, tenant, full=True)
    assert (again.status, again.added, again.changed, again.removed) == (Status.OK, 0, 0, 0)


def test_what_is_registered_meanwhile_is_found_under_the_old_index(
    vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = {entry.ref: entry.id for entry in sources.listing(vault, tenant)}

    def look_things_up(done: int, of: int) -> None:
        assert sources.add(vault, tenant, "user", "ann").id == registered["ann"]
        assert sources.mailbox(vault, tenant, "bob@example.com").key == "bob"

    monkeypatch.setattr(resealing, "PAGE", 1)
    rotation.rotate(vault, tenant, INDEX, NOBODY._replace(done=look_things_up))
    assert len(sources.listing(vault, tenant)) == 2


def test_another_process_reads_and_writes_while_the_data_key_rotates(
    place: Place, vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, before = place.open(), everything(vault)
    assert everything(other) == before  # its keys are in memory now, and soon those of before
    monkeypatch.setattr(resealing, "PAGE", 2)

    def read(done: int, of: int) -> None:
        assert everything(other) == before
        assert done <= of

    rotation.rotate(vault, tenant, DATA, NOBODY._replace(done=read))
    with pytest.raises(BusyError, match="rotated meanwhile"):
        sources.add(other, tenant, "user", "carol")
    sources.add(other, tenant, "user", "carol")
    assert generations(vault) == {2}


def test_a_listing_meets_every_contact_once_though_a_rotation_of_the_index_changes_their_order(
    vault: Vault, tenant: Tenant, exchange: FakeExchange
) -> None:
    for number in range(40):
        exchange.people["ann"].folders["ann-inbox"].put(f"x{number}", contact(f"x{number}"))
    assert sync(vault, tenant).status == sync(vault, tenant).status == Status.OK
    everyone = sorted(row.id for page in contact_rows.stream(vault.read, tenant.id) for row in page)
    pages = contact_rows.stream(vault.read, tenant.id, page_size=8)
    met = [row.id for _ in range(3) for row in next(pages)]
    rotation.rotate(vault, tenant, INDEX)
    met += [row.id for page in pages for row in page]
    assert sorted(met) == everyone
    assert len(everyone) > 40


def test_a_run_that_comes_meanwhile_finishes_the_rotation_of_the_index_first(
    place: Place, vault: Vault, tenant: Tenant, exchange: FakeExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "PAGE", 2)
    runs = []

    def run_once(done: int, of: int) -> None:
        if not runs:
            runs.append(sync(place.open(), tenant, full=True))

    rotation.rotate(vault, tenant, INDEX, NOBODY._replace(done=run_once))
    (summary,) = runs
    assert (summary.status, summary.added, summary.changed, summary.removed) == (Status.OK, 0, 0, 0)
    assert is_sound(vault, tenant)


def test_a_run_waits_for_a_rotation_that_holds_the_tenant(vault: Vault, tenant: Tenant) -> None:
    outcome: list[Status] = []
    thread = threading.Thread(target=lambda: outcome.append(sync(vault, tenant).status))
    with vault.locks.tenant(tenant.id, work=rotation.WORK):
        thread.start()
        thread.join(timeout=0.2)
        assert thread.is_alive()
    thread.join(timeout=30)
    assert outcome == [Status.OK]


def test_a_run_does_not_wait_for_another_run(vault: Vault, tenant: Tenant) -> None:
    with vault.locks.tenant(tenant.id):
        assert sync(vault, tenant).status == Status.BUSY


def test_a_rotation_waits_for_a_run_and_says_for_whom(vault: Vault, tenant: Tenant) -> None:
    said: list[str] = []
    waits = threading.Event()

    def note(who: str) -> None:
        said.append(who)
        waits.set()

    follower = Follower(waits=note, done=lambda done, of: None)
    thread = threading.Thread(target=lambda: rotation.rotate(vault, tenant, DATA, follower))
    with vault.locks.tenant(tenant.id):
        thread.start()
        assert waits.wait(timeout=30)
    thread.join(timeout=30)
    assert len(said) == 1
    assert "in use by process" in said[0]
    assert generations(vault) == {2}


def test_a_rotation_says_what_it_is_for_as_long_as_it_holds_the_tenant(
    place: Place, vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, read_page, found = place.open(), rotation.read_page, list[str | None]()

    def look_who_holds_it(*args: Any, **options: bool) -> object:
        with pytest.raises(TenantBusyError) as busy, other.locks.tenant(tenant.id):
            pass
        found.append(busy.value.work)
        return read_page(*args, **options)

    monkeypatch.setattr(rotation, "read_page", look_who_holds_it)
    rotation.rotate(vault, tenant, DATA)
    assert set(found) == {rotation.WORK}


@pytest.mark.parametrize("purposes", [DATA, INDEX])
def test_runs_and_a_rotation_side_by_side_never_get_in_each_others_way(
    place: Place, vault: Vault, tenant: Tenant, purposes: set[Purpose], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "PAGE", 1)
    other, outcome = place.open(), list[Status]()

    def pull() -> None:
        for _ in range(4):
            outcome.append(sync(other, tenant).status)

    thread = threading.Thread(target=pull)
    thread.start()
    rotation.rotate(vault, tenant, purposes)
    thread.join(timeout=60)
    assert outcome == [Status.OK] * 4
    assert rotation.unfinished(vault, tenant.id) == set()
    assert purposes == INDEX or generations(vault) == {2}
    assert is_sound(vault, tenant)


def test_two_rotations_at_once_end_in_one_state(place: Place, vault: Vault, tenant: Tenant) -> None:
    before = everything(vault)
    threads = [threading.Thread(target=rotation.rotate, args=(each, tenant)) for each in (vault, place.open())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    again = place.open()
    assert everything(again) == before
    assert rotation.unfinished(again, tenant.id) == set()
    assert generations(again) in ({2}, {3})


def test_a_row_that_changes_between_reading_and_writing_is_read_again(
    vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = [lambda: tenants.update(vault, tenant, lambda facts: facts)]
    read_page = rotation.read_page

    def change_after_reading(*args: object, **options: bool) -> object:
        page = read_page(*args, **options)  # type: ignore[arg-type]
        if once and page.table == "tenants":
            once.pop()()
        return page

    monkeypatch.setattr(rotation, "read_page", change_after_reading)
    rotation.rotate(vault, tenant, DATA)
    assert generations(vault) == {2}
    assert is_sound(vault, tenant)


def test_a_row_that_was_missed_keeps_its_generation_from_being_retired(
    vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def walk_past(*args: object) -> int:
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(rotation, "_walk", walk_past)
        patch.setattr(rotation, "_finish", lambda *args: 0)
        rotation.rotate(vault, tenant, DATA)
    assert rotation.unfinished(vault, tenant.id) == DATA
    with monkeypatch.context() as patch:
        walk, passed = rotation._walk, list[int]()

        def walk_past_once(*args: Any) -> int:
            if not passed:
                passed.append(1)
                return 0
            return walk(*args)

        patch.setattr(rotation, "_walk", walk_past_once)
        assert rotation.rotate(vault, tenant, DATA) > 0
    assert generations(vault) == {2}


def test_once_a_rotation_has_begun_nobody_writes_under_the_old_keys(
    place: Place, vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = place.open()
    sources.listing(other, tenant)
    with monkeypatch.context() as patch:
        patch.setattr(rotation, "_walk", lambda *args: 0)
        patch.setattr(rotation, "_finish", lambda *args: 0)
        rotation.rotate(vault, tenant, DATA)
    with pytest.raises(BusyError, match="rotated meanwhile"):
        sources.add(other, tenant, "user", "carol")


def test_what_a_round_has_seen_that_is_no_contact_is_forgotten_with_its_index(vault: Vault, tenant: Tenant) -> None:
    kept = rows(vault.data, "seen")
    folder, _, *rest = kept[0]
    statement = "INSERT INTO seen (folder_id, remote_ix, tenant_id, data_class, purge_at) VALUES (?, ?, ?, ?, ?)"
    execute(vault.data, statement, folder, bytes(16), *rest)
    rotation.rotate(vault, tenant, INDEX)
    assert len(rows(vault.data, "seen")) == len(kept)
    assert bytes(16) not in indexes(vault)


def test_a_damaged_row_stops_a_rotation_which_goes_on_once_it_is_put_right(vault: Vault, tenant: Tenant) -> None:
    (first, *_) = rows(vault.data, "checkpoints")
    torn = first[2][:-1] + bytes([first[2][-1] ^ 1])
    execute(vault.data, "UPDATE checkpoints SET blob = ? WHERE folder_id = ?", torn, first[0])
    with pytest.raises(DamagedError, match="of checkpoints does not open"):
        rotation.rotate(vault, tenant, DATA)
    execute(vault.data, "UPDATE checkpoints SET blob = ? WHERE folder_id = ?", first[2], first[0])
    rotation.rotate(vault, tenant, DATA)
    assert wrapped(vault, tenant)[:2] == [("data", 1, "retired", True), ("data", 2, "current", False)]
    assert generations(vault) == {2}


def test_a_rotation_that_is_resumed_is_told_of_and_makes_no_new_key(vault: Vault, tenant: Tenant) -> None:
    told: list[set[Purpose]] = []
    follower = NOBODY._replace(resumes=lambda purposes: told.append(set(purposes)))
    rotation.rotate(vault, tenant, follower=follower)
    with vault.key_data.write() as tx:
        key_rows.reopen_retired(tx)  # as a restore does
    rotation.rotate(vault, tenant, follower=follower)
    assert told == [set(), {Purpose.DATA, Purpose.INDEX}]
    assert vault.keys.tenant(tenant.id).cipher.current == 2
    rotation.rotate(vault, tenant, follower=follower)
    assert vault.keys.tenant(tenant.id).cipher.current == 3


def test_a_tenant_in_erasure_is_not_rotated(vault: Vault, tenant: Tenant) -> None:
    erasure._fence(vault, tenant, erasure.ON_DEMAND, "root")
    with pytest.raises(InputError, match=r"^The tenant is being erased") as refused:
        rotation.rotate(vault, tenant)
    assert refused.value.advice.startswith("Its keys go with it")
    assert len(wrapped(vault, tenant)) == 2


def test_a_retired_generation_is_destroyed_when_the_last_backup_that_needs_it_is_gone(
    place: Place, vault: Vault, tenant: Tenant
) -> None:
    before = everything(vault)
    rotation.rotate(vault, tenant, DATA)
    keep = timedelta(days=35)
    assert rotation.destroy_expired(vault, keep) == 0
    vault.close()
    assert rotation.destroy_expired(place.open(NOW + keep), keep) == 0
    late = place.open(NOW + keep + timedelta(seconds=1))
    assert purge.purge(late, role="root").failures == ()
    assert wrapped(late, tenant) == [("data", 2, "current", False), ("index", 1, "current", False)]
    assert everything(late) == before


def test_older_rows_that_were_put_back_are_brought_up_to_the_keys_of_today(
    place: Place, vault: Vault, tenant: Tenant
) -> None:
    before, kept = everything(vault), _snapshot(vault)
    rotation.rotate(vault, tenant)
    _put_back(vault, kept)
    execute(vault.key_data, "DELETE FROM anchors")  # as a restore sets them anew
    again = place.open()
    assert rotation.unfinished(again, tenant.id) == DATA | INDEX
    assert everything(again) == before
    rotation.rotate(again, tenant)
    assert everything(again) == before
    assert generations(again) == {2}
    assert {row[1] for row in wrapped(again, tenant)} == {1, 2}


def test_a_retired_generation_that_rows_need_again_is_not_destroyed(place: Place, vault: Vault, tenant: Tenant) -> None:
    before, kept = everything(vault), _snapshot(vault)
    rotation.rotate(vault, tenant)
    _put_back(vault, kept)
    execute(vault.key_data, "DELETE FROM anchors")
    late = place.open(NOW + timedelta(days=40))
    assert purge.purge(late, role="root").failures == ()
    assert len(wrapped(late, tenant)) == 4
    assert everything(late) == before


def test_a_generation_under_which_a_single_row_came_back_is_not_destroyed(
    place: Place, vault: Vault, tenant: Tenant
) -> None:
    with vault.read() as tx:
        before = bytes(tx.exec_driver_sql("SELECT blob FROM credentials").scalar_one())
    rotation.rotate(vault, tenant)
    execute(vault.data, "UPDATE credentials SET blob = ?", before)
    assert rotation.unfinished(vault, tenant.id) == set()
    vault.close()
    late = place.open(NOW + timedelta(days=40))
    assert rotation.destroy_expired(late, timedelta(days=35)) == 1  # the index needs its old key no more
    assert wrapped(late, tenant)[0] == ("data", 1, "retired", True)


def test_tenant_keys_that_lie_idle_are_dropped(vault: Vault, tenant: Tenant) -> None:
    seconds = [0.0]
    ring = KeyRing(vault.id, vault.key_data, vault.roots, seconds=lambda: seconds[0])
    other = register(vault, "globex")
    first, second = ring.tenant(tenant.id), ring.tenant(other.id)
    seconds[0] = IDLE_SECONDS / 2
    assert ring.tenant(other.id) is second
    seconds[0] = IDLE_SECONDS + 1
    assert ring.tenant(other.id) is second
    assert ring.tenant(tenant.id) is not first
    seconds[0] *= 2
    ring.drop_idle(1)
    assert not ring._tenants


def test_of_a_tenant_without_keys_nothing_is_opened_or_rotated(vault: Vault) -> None:
    stranger = bytes(16)[:-1] + b"s"
    for ask in (vault.keys.tenant, lambda tenant_id: vault.keys.rotate(tenant_id, DATA, NOW)):
        with pytest.raises(NotFoundError, match=r"^The tenant has no keys"):
            ask(stranger)


def test_keys_of_another_tenant_stay_as_they_are(vault: Vault, tenant: Tenant) -> None:
    other = register(vault, "globex")
    held = vault.keys.tenant(other.id)
    rotation.rotate(vault, tenant)
    assert vault.keys.names_of(tenant.id) == ["data/1", "data/2", "index/1", "index/2"]
    assert vault.keys.names_of(other.id) == ["data/1", "index/1"]
    assert vault.keys.tenant(other.id) is held
    vault.keys.forget(other.id)
    assert vault.keys.tenant(other.id) is not held


def test_keys_of_an_erased_tenant_are_dropped_from_memory_too(vault: Vault, tenant: Tenant) -> None:
    vault.keys.tenant(tenant.id)
    with vault.key_data.write() as tx:
        vault.keys.destroy_tenant(tx, tenant.id)
    with pytest.raises(NotFoundError):
        vault.keys.tenant(tenant.id)


def test_keys_that_lack_a_purpose_or_a_generation_in_force_are_damaged(vault: Vault, tenant: Tenant) -> None:
    other = register(vault, "globex")
    execute(vault.key_data, "DELETE FROM wrapped_keys WHERE purpose = 'index' AND tenant_id = ?", tenant.id)
    execute(vault.key_data, "UPDATE wrapped_keys SET state = 'retired' WHERE tenant_id = ?", other.id)
    for each in (tenant, other):
        vault.keys.forget(each.id)
        with pytest.raises(DamagedError, match=f"^The key store lacks keys of tenant {UUID(bytes=each.id)}"):
            vault.keys.tenant(each.id)


def _snapshot(vault: Vault) -> dict[str, list[tuple[object, ...]]]:
    names = ("tenants", "credentials", "sources", "mailboxes", "memberships", "folders", "checkpoints", "contacts")
    return {name: rows(vault.data, name) for name in (*names, "photos", "seen", "manifests")}


def _put_back(vault: Vault, kept: dict[str, list[tuple[object, ...]]]) -> None:
    for name in reversed(kept):
        execute(vault.data, f"DELETE FROM {name}")
    for name, found in kept.items():
        for row in found:
            execute(vault.data, f"INSERT INTO {name} VALUES ({', '.join('?' * len(row))})", *row)


def test_progress_ends_with_all_rows_done(vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resealing, "PAGE", 3)
    told: list[tuple[int, int]] = []
    rotation.rotate(vault, tenant, DATA, NOBODY._replace(done=lambda done, of: told.append((done, of))))
    assert told == sorted(told)
    everything_sealed = sum(len(rows(vault.data, table)) for table in sealed_rows.SEALED)
    assert told[-1] == (everything_sealed, everything_sealed)
    assert len({of for _, of in told}) == 1
    assert told[-1][0] == told[-1][1]


def test_verifying_meanwhile_finds_nothing_wrong(
    place: Place, vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "PAGE", 3)
    other, found = place.open(), list[object]()
    rotation.rotate(
        vault, tenant, DATA | INDEX, NOBODY._replace(done=lambda done, of: found.extend(verify.verify(other).findings))
    )
    found.extend(verify.verify(place.open()).findings)
    assert found == []
