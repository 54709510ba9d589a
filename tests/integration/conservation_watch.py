"""What is put between the engine and what it works with: somebody who looks over its shoulder, and power cuts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from connectors.port import Connector, Photo, PhotoRef, Step, Wanted
from syncvault.store.engine import Database


class PowerCut(BaseException):
    """Ends a run as abruptly as a test can within its own process."""


@dataclass
class Watch:
    """Follows a run from within: counts pages and photos asked for, and lets something happen after a page."""

    pages: int = 0
    photos: int = 0
    after_page: Callable[[int], None] = lambda number: None


class Watched:
    """A connector as it is, with somebody looking over its shoulder."""

    def __init__(self, connector: Connector, watch: Watch) -> None:
        self._connector = connector
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connector, name)

    def changes(self, wanted: Sequence[Wanted]) -> Iterator[Sequence[Step]]:
        for steps in self._connector.changes(wanted):
            yield steps
            self._watch.pages += 1
            self._watch.after_page(self._watch.pages)

    def photos(self, wanted: Sequence[PhotoRef]) -> Iterator[Photo]:
        self._watch.photos += len(wanted)
        yield from self._connector.photos(wanted)


@contextmanager
def dying_commits(step: int, *, before: bool) -> Iterator[None]:
    """The power goes at a commit: before it has any effect, or right after it. Nothing is written from then on."""
    write, left = Database.write, step

    @contextmanager
    def write_until_the_cut(self: Database) -> Iterator[Any]:
        nonlocal left
        left -= 1
        if left < 0:
            raise PowerCut
        with write(self) as tx:
            yield tx
            if left == 0 and before:
                raise PowerCut
        if left == 0:
            raise PowerCut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "write", write_until_the_cut)
        yield
