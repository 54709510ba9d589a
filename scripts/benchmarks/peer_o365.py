"""Reads mailboxes through the O365 library, in an environment of its own: prints JSON. Argument: the task's file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msal
from O365 import Account, MSGraphProtocol
from O365.utils.token import MemoryTokenBackend

from scripts.benchmarks.clocks import Watch, peak_mib

_AT_ONCE: Final = 4


def main(task_file: str) -> None:
    task = json.loads(Path(task_file).read_text())
    os.environ["REQUESTS_CA_BUNDLE"] = task["ca_file"]
    account, watch = _account(task["online"]), Watch()
    account.authenticate(scopes=[f"{task['online']['graph_url']}/.default"])  # and loads what is loaded once
    with watch.running():
        users = {user.mail: user for user in account.directory().get_users(limit=len(task["people"]))}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = list(pool.map(lambda person: _read(account, users[person["mail"]], person), task["people"]))
    contacts, photos = map(sum, zip(*found, strict=True))
    print(
        json.dumps(
            {"contacts": contacts, "photos": photos, "cpu": watch.cpu, "wall": watch.wall, "peak_mib": peak_mib()}
        )
    )


def _account(place: dict[str, Any]) -> Any:
    class Protocol(MSGraphProtocol):  # type: ignore[misc]
        _protocol_url = f"{place['graph_url']}/"
        _oauth_scope_prefix = f"{place['graph_url']}/"

    begin = msal.ConfidentialClientApplication.__init__

    def at_the_simulator(self: Any, *args: Any, **options: Any) -> None:
        options.update(authority=f"{place['authority']}/{place['directory_id']}", instance_discovery=False)
        begin(self, *args, **options)

    msal.ConfidentialClientApplication.__init__ = at_the_simulator
    return Account(
        (place["client_id"], place["client_secret"]),
        protocol=Protocol(api_version="v1.0"),
        auth_flow_type="credentials",
        tenant_id=place["directory_id"],
        token_backend=MemoryTokenBackend(),
        requests_delay=0,  # else it lets 200 ms pass between two requests
    )


def _read(account: Any, user: Any, person: dict[str, Any]) -> tuple[int, int]:
    """One person; the number of contacts, the card included, and of photos."""
    pictured, contacts = set(person["pictured"]), 1
    photos = int(person["photo"] and bool(user.get_profile_photo("240x240")))
    for folder in _folders(account.address_book(resource=person["mail"])):
        for contact in folder.get_contacts(limit=None):
            contacts += 1
            address = contact.emails.get_first_recipient_with_address()
            if address and address.address in pictured:
                photos += bool(contact.get_profile_photo())
    return contacts, photos


def _folders(folder: Any) -> Iterator[Any]:
    yield folder
    for child in folder.get_folders(limit=None):
        yield from _folders(child)


if __name__ == "__main__":
    main(*sys.argv[1:])
