"""Pulls two mailboxes in a process of its own, so that what the second one takes in memory can be seen.

Given on stdin: the settings, and the addresses; the first is pulled twice, so that all that is loaded is loaded. The
second one may be pulled several times at once, as if it were as many mailboxes.
"""

from __future__ import annotations

import json
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from connectors.ews import EwsSettings, Password, connect
from connectors.port import ConnectorError, Mailbox, Page
from tests.reading import outcomes


def peak() -> int:
    """The most memory that this process has taken so far, in KiB; getrusage would tell that of who started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found.group(1))


def main() -> None:
    """Prints what became of the second mailbox: its code, seconds, and MiB above what the first one took."""
    given = json.load(sys.stdin)
    connector: Any = connect(
        EwsSettings(given["url"], given["username"], Password(given["password"].encode()), given["ca_pem"])
    )

    def pull(address: str) -> str:
        try:
            pages = list(outcomes(connector, Mailbox(address.lower(), address), {}))
        except ConnectorError as error:
            return error.code if error.advice else "no advice"
        return "read" if any(isinstance(page, Page) and page.upserts for page in pages) else "empty"

    good, hostile = given["addresses"]
    for _ in range(2):
        assert pull(good) == "read"
    before, began = peak(), time.monotonic()
    with ThreadPoolExecutor() as pool:
        (code,) = set(pool.map(pull, [hostile] * given["at_once"]))
    seconds = time.monotonic() - began
    mebibytes = (peak() - before) // 1024
    assert pull(good) == "read"  # the others go on
    json.dump({"code": code, "seconds": seconds, "mebibytes": mebibytes}, sys.stdout)


if __name__ == "__main__":
    main()
