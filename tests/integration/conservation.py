"""The conservation of contacts: whatever happens at the source and to the runs, the vault ends up with what is there.

`Conservation` drives a vault against a `Site` and holds the invariants; `conservation_machine` lets Hypothesis write
the story.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.selection import Selection
from syncvault.store import contacts as contact_rows
from syncvault.store import folders as folder_rows
from syncvault.store import sources as source_rows
from syncvault.sync import engine
from syncvault.sync.scope import selection_of
from syncvault.sync.summary import Status, Summary
from syncvault.vault import tenants
from syncvault.vault.content import pages, photos, sources
from syncvault.vault.content.diff import open_contacts
from syncvault.vault.content.rehearsed import Change, differing
from syncvault.vault.layout import Layout, default_database, default_key_database
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault
from syncvault.vault.verify import verify
from tests.integration.conservation_site import Held, Key, Site, Source
from tests.integration.conservation_watch import PowerCut, Watch, Watched, dying_commits
from tests.integration.source_edits import Edit
from tests.integration.vault_parts import Place, rows, sync, tables

CARDS_ONLY = {"gal", "org-contacts"}  # kinds of sources
COUNTS = ("mailboxes", "added", "changed", "removed", "unchanged", "skipped", "photos")
UNTIL_ALL_PHOTOS_ARE_DUE = timedelta(days=3)


def snapshot(vault: Vault, tenant: Tenant) -> dict[Key, tuple[bytes, Held]]:
    """What the vault holds, with its own IDs."""
    found: dict[Key, tuple[bytes, Held]] = {}
    keys, boxes = vault.keys.tenant(tenant.id), sources.mailboxes_by_id(vault, tenant)
    with vault.read() as tx:
        states = (state for mailbox_id in boxes for state in folder_rows.of_mailbox(tx, mailbox_id))
        paths: dict[bytes | None, str] = {
            state.folder.id: pages.open_folder(keys, state.folder)["path"] for state in states
        }
    paths[None] = ""
    for page in contact_rows.stream(vault.read, tenant.id):
        for row, plain in zip(page, map(json.loads, open_contacts(keys, page)), strict=True):
            photo = photos.read(vault, tenant, row.id)
            sha256 = hashlib.sha256(photo).hexdigest() if photo else ""
            key = boxes[row.mailbox_id].key, plain["id"]
            assert key not in found, "stored twice"
            fields = json.dumps(plain["fields"], sort_keys=True)
            found[key] = row.id, Held(row.kind, paths[row.folder_id], fields, sha256)
    return found


@contextmanager
def fresh_place() -> Iterator[Place]:
    """Where a vault can be made, outside of any fixture."""
    folder = Path(tempfile.mkdtemp(prefix="conservation-"))
    home = folder / "home"
    place = Place(Layout(home, default_database(home), default_key_database(home), "file", folder / "key" / "root.key"))
    try:
        yield place
    finally:
        place.close()
        shutil.rmtree(folder)


def same_counts(rehearsed: Summary, run: Summary) -> None:
    """A rehearsal says what the run then does."""
    for name in COUNTS:
        said, done = getattr(rehearsed, name), getattr(run, name)
        assert said == done, f"{name}: {said} rehearsed, {done} done"
    assert rehearsed.status == run.status
    assert Counter(rehearsed.failures) == Counter(run.failures)


# -- the story ---------------------------------------------------------------------------------------------------------


@dataclass
class Conservation:
    """A vault and its source."""

    site: Site
    place: Place
    armed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.vault = self.place.create()
        self.tenant = tenants.register(self.vault, self.site.facts(), self.site.credential())
        self.edits = self.site.edits()
        self.watch = Watch()
        self.scope = self.tenant.facts.scope
        self.steady: dict[Key, bytes] = {}  # what the source had all the time since the vault has it, with its ID
        self.adjust_sources()

    @property
    def selection(self) -> Selection:
        """What is wanted of the tenant."""
        return selection_of(self.scope)

    # -- what happens to it ----------------------------------------------------------------------------------------

    def edit(self, edit: Edit) -> None:
        """Something happens at the source."""
        self.edits.happen(edit)
        self.note_what_left()

    def change_scope(self, **changes: Any) -> None:
        """The tenant's profile changes."""
        self.tenant = tenants.update(
            self.vault, self.tenant, lambda facts: replace(facts, scope=replace(facts.scope, **changes))
        )
        self.scope = self.tenant.facts.scope
        self.note_what_left()

    def adjust_sources(self) -> None:
        """The administrator registers and removes sources, as the company has it."""
        self.site.adjust()
        self._register(self.site.sources())

    def switch(self, number: int) -> None:
        """The administrator registers other sources."""
        self.site.switch(number)
        self._register(self.site.sources())

    def _register(self, wanted: set[Source]) -> None:
        known = {Source(one.kind, one.ref): one.id for one in sources.listing(self.vault, self.tenant)}
        for source in known.keys() - wanted:
            sources.remove(self.vault, self.tenant, known[source])
        for source in sorted(wanted - known.keys()):
            sources.add(self.vault, self.tenant, *source)
        is_named = self._named()
        self.steady = {key: contact_id for key, contact_id in self.steady.items() if is_named(key)}
        self.note_what_left()

    def arm(self, fault: str, rate: float) -> None:
        """A fault strikes from now on."""
        self.site.arm(fault, rate)
        self.armed.add(fault)

    def calm(self) -> None:
        """Nothing goes wrong any more."""
        self.site.calm()
        self.armed.clear()

    def reopen(self) -> None:
        """The vault as another process finds it."""
        self.vault.close()
        self.vault = self.place.open()
        self.tenant = tenants.find(self.vault, self.tenant.facts.name)

    def pass_time(self) -> None:
        """Days pass, until all photos are looked at again."""
        self.place.now += UNTIL_ALL_PHOTOS_ARE_DUE
        self.reopen()

    # -- runs ----------------------------------------------------------------------------------------------------------

    def run(self, **options: Any) -> Summary:
        """One run; whatever it meets, what the source had all the time stays what it is."""
        with self._watching():
            summary = sync(self.vault, self.tenant, mailboxes=1, **options)
        assert summary.status not in {Status.QUARANTINED, Status.BUSY}, summary.failures
        assert not any(failure.code == "internal" for failure in summary.failures)
        is_undisturbed = self.watch.after_page is Watch.after_page and not self._sources_are_gone()
        if is_undisturbed and self.armed <= set(self.site.ridden_out):
            assert summary.status in {Status.OK, Status.BRAKED}, summary.failures
        self._hold_steady()
        return summary

    def run_while(self, edit: Edit, page: int, **options: Any) -> None:
        """A run during which something happens at the source."""

        def happen(number: int) -> None:
            if number == page:
                self.edit(edit)

        self.watch.after_page = happen
        try:
            self.run(**options)
        finally:
            self.watch.after_page = Watch.after_page

    def cut_at_commit(self, step: int, *, before: bool, **options: Any) -> None:
        """A run that the power goes off in, at a commit."""
        with self._watching(), dying_commits(step, before=before):
            self._cut(**options)
        self.reopen()
        self._hold_steady()

    def cut_at_page(self, page: int, **options: Any) -> None:
        """A run that the power goes off in, after a page."""

        def cut(number: int) -> None:
            if number == page:
                raise PowerCut

        self.watch.after_page = cut
        try:
            with self._watching():
                self._cut(**options)
        finally:
            self.watch.after_page = Watch.after_page
        self.reopen()
        self._hold_steady()

    def rehearse(self, **options: Any) -> Summary:
        """A dry run: it writes nothing."""
        before = tables(self.vault)
        summary = self.run(dry_run=True, **options)
        assert tables(self.vault) == before
        return summary

    def rehearse_and_run(self, **options: Any) -> Summary:
        """A dry run, which says exactly what the run after it does."""
        rehearsed = self.rehearse(**options)
        before = snapshot(self.vault, self.tenant)
        run = self.run(**options)
        same_counts(rehearsed, run)
        assert rehearsed.changes is not None
        said = Counter(map(_told, rehearsed.changes))
        if run.status is Status.BRAKED:
            said = Counter({one: number for one, number in said.items() if one[0] != "remove"})
        done = Counter(_differences(before, snapshot(self.vault, self.tenant)))
        assert said == done, (said - done, done - said)
        return run

    # -- the end ---------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Once nothing happens any more, the vault equals the source, and the runs have nothing left to do."""
        self.calm()
        self.adjust_sources()
        # What changed behind a full round that was under way comes one run later.
        for _ in range(2):
            self.pass_time()
            run = self.rehearse_and_run(accept_removals=True)
            assert (run.status, run.failures) == (Status.OK, [])
        self.equals_the_source()
        self.watch.photos = 0
        again = self.run()
        assert (again.added, again.changed, again.removed, again.photos) == (0, 0, 0, 0)
        assert (again.status, self.watch.photos) == (Status.OK, 0)
        assert self.rehearse().changes == []

    def equals_the_source(self) -> None:
        """The vault equals the source, and is sound."""
        held, expected = snapshot(self.vault, self.tenant), self.site.expected(self.selection)
        found = {key: entry for key, (_, entry) in held.items()}
        assert found == expected, _unlike(found, expected)
        assert rows(self.vault.data, "pending_removals") == rows(self.vault.data, "seen") == []
        assert verify(self.vault).findings == []
        self.steady = {key: contact_id for key, (contact_id, _) in held.items()}

    # -- inside ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _watching(self) -> Iterator[None]:
        self.watch.pages = 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                engine, "connect", lambda facts, *_, **__: Watched(self.site.connect(self.selection), self.watch)
            )
            yield

    def _cut(self, **options: Any) -> None:
        with suppress(PowerCut):
            sync(self.vault, self.tenant, mailboxes=1, **options)

    def _sources_are_gone(self) -> bool:
        registered = {Source(known.kind, known.ref) for known in sources.listing(self.vault, self.tenant)}
        return not registered <= self.site.sources()

    def note_what_left(self) -> None:
        """Forgets what the source no longer has, or is no longer wanted: it may come back under another ID."""
        here = self.site.expected(self.selection)
        self.steady = {key: contact_id for key, contact_id in self.steady.items() if key in here}

    def _named(self) -> Callable[[Key], bool]:
        """Tells what some registered source has named so far; the rest may go, although one would name it."""
        opened: set[str] = set()
        shown: set[str] = set()
        boxes = sources.mailboxes_by_id(self.vault, self.tenant)
        with self.vault.read() as tx:
            for source in sources.listing(self.vault, self.tenant):
                members = [row.mailbox_id for row in source_rows.memberships(tx, source.id) if not row.leaving]
                (shown if source.kind in CARDS_ONLY else opened).update(boxes[mailbox_id].key for mailbox_id in members)
        return lambda key: key[0] in opened or (key[0] in shown and key[0] == key[1])

    def _hold_steady(self) -> None:
        self.note_what_left()  # some faults are edits
        held = {key: contact_id for key, (contact_id, _) in snapshot(self.vault, self.tenant).items()}
        missing = self.steady.items() - held.items()
        assert not missing, f"the source had it all the time: {missing}, now {[held.get(key) for key, _ in missing]}"
        here, is_named = self.site.expected(self.selection), self._named()
        self.steady |= {key: contact_id for key, contact_id in held.items() if key in here and is_named(key)}


def _unlike(found: dict[Key, Held], expected: dict[Key, Held]) -> str:
    keys = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
    return "".join(f"\n{key}:\n  held {found.get(key)}\n  not  {expected.get(key)}" for key in keys)


def _told(change: Change) -> tuple[Any, ...]:
    return (change.action, change.kind, change.id, change.mailbox.key, tuple(sorted(change.fields)))


def _differences(
    before: dict[Key, tuple[bytes, Held]], after: dict[Key, tuple[bytes, Held]]
) -> Iterator[tuple[Any, ...]]:
    """What became of each contact, in the words of a rehearsal."""
    nothing = Held("", "", "{}", "")
    earlier = {contact_id: (key, entry) for key, (contact_id, entry) in before.items()}
    later = {contact_id: (key, entry) for key, (contact_id, entry) in after.items()}
    for contact_id in earlier.keys() | later.keys():
        (key, old), (_, new) = earlier.get(contact_id, ("", nothing)), later.get(contact_id, ("", nothing))
        key, entry = later.get(contact_id) or earlier[contact_id]
        if contact_id not in later:
            yield "remove", entry.kind, contact_id, key[0], ()
            continue
        names = differing(json.loads(old.fields), json.loads(new.fields))
        names |= {"photo"} if old.photo != new.photo else set()
        if contact_id not in earlier:
            yield "add", entry.kind, None, key[0], tuple(sorted(names))
        elif fields := names | ({"folder"} if old.folder != new.folder else set()):
            yield "change", entry.kind, contact_id, key[0], tuple(sorted(fields))
