"""Fixtures that the EWS adapter's unit tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connectors.ews import connect
from connectors.ews.connector import EwsConnector
from tests.unit.ews_wire import NOW, SETTINGS, Wire, paper_exchange


@pytest.fixture
def wire() -> Iterator[Wire]:
    """An Exchange of paper."""
    with paper_exchange() as wire:
        yield wire


@pytest.fixture
def waits() -> list[float]:
    """The seconds that the connector would have waited."""
    return []


@pytest.fixture
def connector(wire: Wire, waits: list[float]) -> Iterator[EwsConnector]:
    """A connector on that wire, which never waits."""
    connector = connect(SETTINGS, sleep=waits.append, now=lambda: NOW)
    yield connector
    connector.close()
