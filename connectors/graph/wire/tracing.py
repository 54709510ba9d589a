"""One line per request at debug level: method, path without IDs, status, size, time. Never a body or a header."""

from __future__ import annotations

import logging
from typing import Final

_LOG: Final = logging.getLogger("connectors.graph.wire.tracing")
_KNOWN: Final = frozenset(
    {
        "v1.0", "users", "groups", "contactFolders", "childFolders", "contacts", "delta", "delta()", "photo", "photos",
        "$value", "$batch", "transitiveMembers", "microsoft.graph.user", "oauth2", "v2.0", "token", ".well-known",
        "openid-configuration",
        "48x48", "64x64", "96x96", "120x120", "240x240", "360x360", "432x432", "504x504", "648x648",
    }
)  # fmt: skip


def masked(path: str) -> str:
    """The path without its query, every segment that is not Graph's own vocabulary as `…`."""
    segments = path.partition("?")[0].split("/")
    return "/".join(segment if not segment or segment in _KNOWN else "…" for segment in segments)


def record(method: str, path: str, outcome: int | str, size: int, seconds: float) -> None:
    """Writes the line, if anybody listens."""
    if _LOG.isEnabledFor(logging.DEBUG):
        _LOG.debug("%s %s %s %.1f kB %.0f ms", method, masked(path), outcome, size / 1024, seconds * 1000)
