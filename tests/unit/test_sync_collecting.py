"""Garbage is looked for less often while tenants are synced, and as before afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from syncvault.sync.collecting import rarely_collecting


@pytest.fixture(autouse=True)
def own_threshold() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_garbage_is_looked_for_less_often_during_a_run_and_as_before_when_it_failed() -> None:
    gc.set_threshold(700, 10, 10)
    with pytest.raises(RuntimeError, match="10000"), rarely_collecting():
        raise RuntimeError(gc.get_threshold()[0])
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("chosen", [0, 50_000])
def test_whoever_switched_it_off_or_has_it_even_more_seldom_is_obeyed(chosen: int) -> None:
    gc.set_threshold(chosen, 10, 10)
    with rarely_collecting():
        assert gc.get_threshold()[0] == chosen
