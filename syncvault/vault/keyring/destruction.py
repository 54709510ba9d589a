"""What became of root keys that were replaced, and how the key database records it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from syncvault.roots.port import Destroyed, Destruction, NotPossible, Pending
from syncvault.store.keys import RootRow

_PENDING: Final = "pending: "
_NOT_POSSIBLE: Final = "not possible: "


@dataclass(frozen=True, slots=True)
class RootChange:
    """A re-keyed root: what is current now, what was replaced, and what became of each generation that is not."""

    provider: str
    generation: int
    replaced: int
    destructions: Mapping[int, Destruction]


def may_change(root: RootRow) -> bool:
    """Whether destroying a retired generation may come to something else than the last time, if there was one."""
    return not (root.outstanding or "").startswith(_NOT_POSSIBLE)


def recorded(destruction: Destruction) -> str | None:
    """What is recorded of a generation that is not destroyed; None if it is."""
    if isinstance(destruction, Destroyed):
        return None
    if isinstance(destruction, Pending):
        return _PENDING + destruction.until
    return _NOT_POSSIBLE + destruction.why


def not_possible_any_more(root: RootRow) -> NotPossible:
    """What becomes of a generation whose provider the vault has left: what was recorded of it last stands."""
    why = f"it was kept by the provider {root.provider}, which this vault has left"
    return NotPossible((root.outstanding or why).removeprefix(_NOT_POSSIBLE).removeprefix(_PENDING))
