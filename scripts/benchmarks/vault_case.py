"""One way of storing, measured in a process of its own, so that its peak of memory is its own: prints JSON.

Arguments: the way, a directory with a vault to fill, how many contacts.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from scripts.benchmarks.clocks import Watch, peak_mib
from scripts.benchmarks.entries import pages
from scripts.benchmarks.ways import WAYS


def main(way_name: str, directory: str, count: str) -> None:
    make, key = WAYS[way_name].make, os.urandom(32)
    way = make(Path(directory), key)
    inserting, reading, deleting = Watch(), Watch(), Watch()
    stored = found = 0
    for page in pages(int(count), way.mailbox_ids):
        with inserting.running():
            way.insert(page)
        stored += sum(len(entry.plain) for entry in page)
    way.close()
    way = make(Path(directory), key)  # opened anew, so that nothing is in its cache
    with reading.running():
        for contents in way.read():
            found += sum(map(len, contents))
    if found != stored:
        raise SystemExit(f"{way_name} stored {stored} bytes and read {found}")
    figures = {"peak_mib": peak_mib()}
    with deleting.running():
        way.delete()
    way.close()
    for name, watch in (("insert", inserting), ("read", reading), ("delete", deleting)):
        figures[f"{name}_cpu"], figures[f"{name}_wall"] = watch.cpu, watch.wall
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
