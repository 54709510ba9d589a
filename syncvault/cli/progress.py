"""How long work shows how far it is: bars on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from syncvault.cli.terminal import note, shown

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from syncvault.sync.summary import Progress, Summary


@contextmanager
def follow() -> Iterator[Progress]:
    """Progress for the duration of a sync."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("mailboxes · {task.fields[contacts]} contacts · {task.fields[photos]} photos", markup=False),
        TimeElapsedColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as bars:
        yield Bars(bars)


class Bars:
    """A bar per tenant. Rich locks its tasks; the counts beside the bar are ours to lock."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def begin(self, tenant: str) -> None:
        """Adds the tenant's bar."""
        with self._lock:
            self._tasks[tenant] = self._bars.add_task(shown(tenant), total=None, contacts=0, photos=0)

    def expect(self, tenant: str, mailboxes: int) -> None:
        """Sets how long the bar is."""
        self._bars.update(self._tasks[tenant], total=mailboxes)

    def advance(self, tenant: str, *, mailboxes: int = 0, contacts: int = 0, photos: int = 0) -> None:
        """Moves the bar and its counts."""
        with self._lock:
            task_id = self._tasks[tenant]
            fields = next(task.fields for task in self._bars.tasks if task.id == task_id)
            counts = {"contacts": fields["contacts"] + contacts, "photos": fields["photos"] + photos}
            self._bars.update(task_id, advance=mailboxes, **counts)

    def end(self, tenant: str, summary: Summary) -> None:
        """Fills the bar, also of a tenant that was not pulled and never said how long it is."""
        self._bars.update(self._tasks[tenant], total=summary.mailboxes, completed=summary.mailboxes)


class Lines:
    """A line when a tenant's run begins and one when it has ended."""

    def begin(self, tenant: str) -> None:
        """Says so."""
        note(f"{shown(tenant)}: begins")

    def expect(self, tenant: str, mailboxes: int) -> None:
        """Says how much there is to do."""
        note(f"{shown(tenant)}: {mailboxes} mailboxes")

    def advance(self, tenant: str, *, mailboxes: int = 0, contacts: int = 0, photos: int = 0) -> None:
        """Says nothing: a log needs no ticking."""

    def end(self, tenant: str, summary: Summary) -> None:
        """Says how it ended."""
        note(f"{shown(tenant)}: {summary.status} after {summary.seconds:.1f} s")


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """Progress of work whose pieces are counted: call it with how many are done, and of how many."""
    if not sys.stderr.isatty():
        yield _Tenths(what)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn(what, markup=False), TimeElapsedColumn())
    bars = RichProgress(*columns, console=Console(stderr=True))
    task = bars.add_task(what, total=None)

    def tell(done: int, total: int) -> None:
        bars.start()  # only now: it draws in a thread, and the work may have to fork before
        bars.update(task, completed=done, total=total)

    try:
        yield tell
    finally:
        bars.stop()


class _Tenths:
    """A line for each tenth of the work, where nobody watches a bar."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._told = 0

    def __call__(self, done: int, total: int) -> None:
        tenths = 10 * done // total if total else 10
        if tenths > self._told:
            self._told = tenths
            note(f"{done} of {total} {self._what}")
