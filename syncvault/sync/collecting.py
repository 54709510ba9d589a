"""How often Python looks for cycles of unused objects while tenants are synced.

By default it does so after every 700 new objects that are still in use. A run holds thousands of pulled values at a
time, none of them in a cycle, so it would look through the same ones over and over: a tenth of a run's CPU time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NEW_OBJECTS: Final = 10_000


@contextmanager
def rarely_collecting() -> Iterator[None]:
    """Lets more objects come together before the youngest are looked through; for the whole process, for a block."""
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], _NEW_OBJECTS) if before[0] else 0, *before[1:])  # 0: somebody switched it off
    try:
        yield
    finally:
        gc.set_threshold(*before)
