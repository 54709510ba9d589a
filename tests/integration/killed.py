"""A process of its own that does one thing with a vault and kills itself after its Nth lasting step.

Steps are commits, scrubs, and whatever else reaches the disk.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from syncvault.errors import InputError
from syncvault.roots.file import FileProvider
from syncvault.store import engine as databases
from syncvault.store.locks import FileLocks
from syncvault.sync import engine
from syncvault.sync.scope import selection_of
from syncvault.vault import layout, opening, tenants
from syncvault.vault.backups import restore
from syncvault.vault.content import sources
from syncvault.vault.erasing import erasing_rows, erasure, ledger, outstanding
from syncvault.vault.trail import audit
from tests.integration.fake_exchange import FakeExchange, FakeFolder, contact
from tests.integration.restoring import Backups, Quiet, back_up
from tests.integration.vault_parts import NOW, profile, secret, sync

# Forked from a process that has imported everything and has no threads: a new program would mostly import.
_APART = multiprocessing.get_context("forkserver")
_APART.set_forkserver_preload([__name__])


def kill_after(step: int, verb: str, home: Path) -> bool:
    """Runs the verb in another process; returns whether it was killed."""
    heard, told = _APART.Pipe(duplex=False)
    with heard:
        child = _APART.Process(target=_apart, args=(told, dict(os.environ), step, verb, home))
        child.start()
        told.close()
        child.join(timeout=120)
        if child.is_alive():
            child.kill()
            child.join()
            raise TimeoutError(verb)
        assert child.exitcode in {0, -signal.SIGKILL}, heard.recv() if heard.poll() else child.exitcode
        return child.exitcode != 0


def _apart(told: Connection, environment: dict[str, str], step: int, verb: str, home: Path) -> None:
    os.environ.update(environment)  # the process it is forked from keeps what there was when it began
    try:
        main(step, verb, home)
    except BaseException:
        told.send(traceback.format_exc())
        raise


def first_scene() -> FakeExchange:
    """A company to pull for the first time."""
    exchange = FakeExchange()
    exchange.hire("ann", "a1", "a2", "a3")
    exchange.hire("bob", "b1")
    exchange.groups["g:all"] = ["ann", "bob"]
    exchange.photos = {"ann": b"photo of ann", "a1": b"photo of a1"}
    return exchange


def second_scene() -> FakeExchange:
    """The same company after changes, a move, a removal, a new folder, a resync and a leaver."""
    exchange = first_scene()
    ann = exchange.people["ann"]
    ann.folders["ann-other"] = FakeFolder("other")
    exchange.move("ann", "a1", "ann-other")
    exchange.rename("ann", "a2", "Changed")
    exchange.folder_of("ann", "a3").remove("a3")
    ann.folders["ann-other"].put("a4", contact("a4"))
    exchange.photos["a1"] = b"another photo of a1"
    exchange.groups["g:all"] = ["ann"]
    exchange.expired.add("ann-inbox")
    return exchange


def _dying(step: int) -> Callable[[], None]:
    left = step

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return count


def _arm(step: int) -> None:
    count = _dying(step)
    write = databases.Database.write

    @contextmanager
    def write_and_count(self: databases.Database) -> Iterator[Any]:
        with write(self) as tx:
            yield tx
        count()

    databases.Database.write = write_and_count  # type: ignore[method-assign]
    for owner, name in (
        (databases.Database, "scrub"),
        (FileProvider, "create"),
        (FileProvider, "destroy"),
        (FileLocks, "forget"),
        (ledger, "mirror"),
        (layout, "write_durably"),
        (outstanding, "write_durably"),
    ):
        setattr(owner, name, _counted(getattr(owner, name), count))


def _arm_files(step: int) -> None:
    """Counts whatever changes a directory, or waits for the disk, on top of commits."""
    count = _dying(step)
    for owner, name in (
        (os, "fsync"),
        (os, "link"),
        (os, "mkdir"),
        (os, "rename"),
        (os, "replace"),
        (os, "rmdir"),
        (os, "unlink"),
    ):
        setattr(owner, name, _counted(getattr(owner, name), count))
    write = databases.Database.write

    @contextmanager
    def write_and_count(self: databases.Database) -> Iterator[Any]:
        with write(self) as tx:
            yield tx
        count()

    databases.Database.write = write_and_count  # type: ignore[method-assign]


def _counted(function: Callable[..., Any], count: Callable[[], None]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        result = function(*args, **options)
        count()
        return result

    return call


def main(step: int, verb: str, home: Path) -> None:
    """Does the verb."""
    if verb == "init":
        place = layout.Layout(
            home,
            layout.default_database(home),
            layout.default_key_database(home),
            "file",
            home.parent / "root-key" / "root.key",
        )
        _arm(step)
        opening.create_vault(place, clock=lambda: NOW).close()
        return
    places = Backups(home.parent, home.parent / "backup", home.parent / "key-backup")
    if verb == "restore":
        _arm_files(step)
        restore.restore(places.wanted(home=home), progress=Quiet(), clock=lambda: NOW)
        return
    with opening.open_vault(home, clock=lambda: NOW) as opened:
        if verb == "backup":
            _arm_files(step)
            back_up(opened, places)
            return
        _arm(step)
        if verb == "register":
            try:
                tenants.register(opened, profile("acme"), secret())
            except InputError:
                return
        elif verb == "record":
            audit.record(opened, verb="contact show", tenant_id=None, outcome="ok")
        elif verb == "prune":
            audit.prune(opened)
        elif verb == "erase":
            tenant = tenants.find(opened, "acme")
            erasure.erase(opened, tenant, reason=erasure.ON_DEMAND, role="root")
        elif verb == "finalize":
            for kept in opened.layout.receipts.glob("*.json"):
                outstanding.finalize(opened, kept.read_bytes())
        elif verb == "erase-mailbox":
            tenant = tenants.find(opened, "acme")
            erasing_rows.erase_mailbox(opened, tenant, sources.mailbox(opened, tenant, "ann").id, role="root")
        elif verb == "pull":
            sync(opened, tenants.find(opened, "acme"), mailboxes=1)
        else:
            exchange = {"first": first_scene, "second": second_scene}[verb]()
            engine.connect = lambda facts, credential, **_: exchange.connect(selection_of(facts.scope))  # type: ignore[assignment]
            sync(opened, tenants.find(opened, "acme"), mailboxes=1)
