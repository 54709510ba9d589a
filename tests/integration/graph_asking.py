"""Asking the Graph simulator as a bare client does: one request, all pages, a delta round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests

IMMUTABLE = {"Prefer": 'IdType="ImmutableId"'}
ADVANCED = {"ConsistencyLevel": "eventual"}

Get = Callable[..., requests.Response]


def asking(origin: str, session: requests.Session) -> Get:
    """GET of a path below the version, or of a link."""

    def send(path: str, headers: dict[str, str] | None = None, **options: Any) -> requests.Response:
        url = path if path.startswith("https:") else f"{origin}/v1.0/{path}"
        return session.get(url, headers=headers, allow_redirects=False, **{"timeout": 20, **options})

    return send


def rows(get: Get, path: str, headers: dict[str, str] | None = None) -> list[Any]:
    """All rows of a collection, over all its pages."""
    page = get(path, headers).json()
    found = page["value"]
    while "@odata.nextLink" in page:
        page = get(page["@odata.nextLink"], headers).json()
        found += page["value"]
    return found


def round_of(get: Get, path: str) -> tuple[list[Any], str]:
    """The rows of a delta round and the link to the next one."""
    page = get(path, IMMUTABLE).json()
    found = page["value"]
    while "@odata.nextLink" in page:
        page = get(page["@odata.nextLink"], IMMUTABLE).json()
        found += page["value"]
    return found, page["@odata.deltaLink"]


def code_of(answer: requests.Response) -> tuple[int, str]:
    """Status and error code."""
    return answer.status_code, answer.json()["error"]["code"]
