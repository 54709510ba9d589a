"""When what a lot of mailboxes brings is committed: together where it is little, at once where it is much.

What a server brings is scripted here: no real one lets itself be told which exchange brings what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from connectors.port import Ended, Folder, Page, Step, Unreachable, Upsert, Wanted
from connectors.selection import Selection
from syncvault.crypto.record import row_version
from syncvault.store import manifests
from syncvault.sync.lots import Lot, Pulled, to_port
from syncvault.sync.parallel import Stop, StoppedError
from syncvault.sync.target import VaultTarget
from syncvault.vault.content import sources
from syncvault.vault.content.sources import StoredMailbox
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import contact
from tests.integration.vault_parts import held, manifest_agrees, register

Script = Callable[[], Iterator[Sequence[Step]]]


class Scripted:
    """A connector that brings what it is told."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def changes(self, wanted: Sequence[Wanted]) -> Iterator[Sequence[Step]]:
        return self._script()


@pytest.fixture
def tenant(vault: Vault) -> Tenant:
    """A tenant with two mailboxes that nothing was pulled of yet."""
    tenant = register(vault, "acme", "ann")
    named = [sources.Named(key, f"{key}@example.com") for key in ("ann", "bob")]
    sources.name_mailboxes(vault, tenant, sources.listing(vault, tenant)[0].id, named)
    return tenant


@pytest.fixture
def boxes(vault: Vault, tenant: Tenant) -> list[StoredMailbox]:
    return [sources.mailbox(vault, tenant, key) for key in ("ann", "bob")]


def pull(
    vault: Vault, tenant: Tenant, boxes: Sequence[StoredMailbox], script: Script, stop: Stop | None = None
) -> Pulled:
    target = VaultTarget(vault, tenant, Selection())
    lot = Lot(Scripted(script), target, anew=False, stop=stop or Stop(), advance=lambda **_: None)  # type: ignore[arg-type]
    pulled = lot.pull(boxes)
    assert manifest_agrees(vault, tenant)
    return pulled


def page(box: StoredMailbox, *items: str, folder: str = "inbox", last: bool = True) -> Step:
    upserts = tuple(Upsert(item, contact(item), has_photo=False) for item in items)
    return Step(to_port(box), Page(Folder(folder, folder), upserts, (), f"after {items[-1]}", last))


def ended(box: StoredMailbox) -> Step:
    return Step(to_port(box), Ended())


def commits(vault: Vault, tenant: Tenant) -> int:
    """How many transactions changed sealed rows of the tenant."""
    with vault.read() as tx:
        row = manifests.get(tx, tenant.id)
    return 0 if row is None else row_version(row.blob)


def stored(vault: Vault, tenant: Tenant) -> set[str]:
    return {item for items in held(vault, tenant).values() for item in items}


def test_small_pages_of_several_exchanges_are_committed_together(
    vault: Vault, tenant: Tenant, boxes: list[StoredMailbox]
) -> None:
    ann, bob = boxes
    before = commits(vault, tenant)
    pulled = pull(vault, tenant, boxes, lambda: iter([[page(ann, "a")], [page(bob, "b")], [ended(ann), ended(bob)]]))
    assert stored(vault, tenant) == {"a", "b"}
    assert commits(vault, tenant) == before + 1
    assert (pulled.tally.added, set(pulled.read), pulled.failures) == (2, {ann.id, bob.id}, [])


def test_what_is_worth_it_is_committed_before_the_server_is_asked_again(
    vault: Vault, tenant: Tenant, boxes: list[StoredMailbox]
) -> None:
    ann, bob = boxes
    many = [f"a{number}" for number in range(400)]

    def script() -> Iterator[Sequence[Step]]:
        yield [page(ann, *many)]
        assert stored(vault, tenant) == set(many)
        yield [page(bob, "b")]
        assert stored(vault, tenant) == set(many)
        yield [ended(ann), ended(bob)]

    pull(vault, tenant, boxes, script)
    assert stored(vault, tenant) == {*many, "b"}


def test_a_mailboxs_next_page_goes_by_what_its_last_one_left(
    vault: Vault, tenant: Tenant, boxes: list[StoredMailbox]
) -> None:
    ann = boxes[0]
    script = [[page(ann, "a", last=False)], [page(ann, "a", "b", folder="inbox")], [ended(ann)]]
    assert pull(vault, tenant, [ann], lambda: iter(script)).tally.added == 2
    assert stored(vault, tenant) == {"a", "b"}


def test_what_came_before_the_server_was_lost_is_kept(vault: Vault, tenant: Tenant, boxes: list[StoredMailbox]) -> None:
    def script() -> Iterator[Sequence[Step]]:
        yield [page(boxes[0], "a")]
        raise Unreachable("The server is gone.")

    pulled = pull(vault, tenant, boxes, script)
    assert stored(vault, tenant) == {"a"}
    assert [failure.code for failure in pulled.failures] == ["unreachable"] * 2


def test_what_came_before_the_run_was_given_up_is_kept(
    vault: Vault, tenant: Tenant, boxes: list[StoredMailbox]
) -> None:
    stop = Stop()

    def script() -> Iterator[Sequence[Step]]:
        yield [page(boxes[0], "a")]
        stop.set()
        yield [page(boxes[1], "b")]

    with pytest.raises(StoppedError):
        pull(vault, tenant, boxes, script, stop)
    assert stored(vault, tenant) == {"a"}
