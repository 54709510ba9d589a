"""exchangelib as it is, reading a mailbox: prints JSON.

Arguments: `contacts` or `photos`; a file with what the simulators say of themselves; the address of the mailbox.
Contacts are read by `sync_items()`, and every attribute that a full profile has is looked at; then once more from the
state reached, which is what a run costs that finds nothing. Photos are read by each attachment's `content`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from exchangelib import BASIC, IMPERSONATION, NTLM, Account, Configuration, Credentials, FailFast, Version
from exchangelib.attachments import FileAttachment
from exchangelib.protocol import BaseProtocol
from exchangelib.version import Build
from requests.adapters import HTTPAdapter

from scripts.benchmarks.clocks import Watch, peak_mib

_PINNED: Final = Version(build=Build(15, 1, 2507, 39))  # else it asks the server first
_ATTRIBUTES: Final = (
    "display_name", "given_name", "middle_name", "surname", "complete_name", "generation", "initials", "nickname",
    "company_name", "department", "job_title", "office", "profession", "manager", "assistant_name", "email_addresses",
    "phone_numbers", "im_addresses", "business_homepage", "physical_addresses", "birthday", "spouse_name", "children",
    "sensitivity", "has_picture",
)  # fmt: skip


def read_contacts(account: Account) -> dict[str, Any]:
    """Reads everything, then asks what changed since."""
    watch, idle = Watch(), Watch()
    with watch.running():
        read, state = _sync(account, None)
    with idle.running():
        changed, _ = _sync(account, state)
    if changed:
        raise SystemExit(f"{changed} contacts changed while nobody changed any")
    return {"contacts": read, **_less(watch, idle)}


def read_photos(account: Account) -> dict[str, Any]:
    """Reads the photo of every contact that has one."""
    watch, idle, photos, size = Watch(), Watch(), 0, 0
    with watch.running():
        for contact in account.contacts.all().only("attachments", "has_picture"):
            for attachment in contact.attachments or ():
                if isinstance(attachment, FileAttachment) and attachment.is_contact_photo:
                    photos, size = photos + 1, size + len(attachment.content)
    return {"photos": photos, "bytes": size, **_less(watch, idle)}


def main(deed: str, info_file: str, address: str) -> None:
    info = json.loads(Path(info_file).read_text())
    read: Callable[[Account], dict[str, Any]] = read_contacts if deed == "contacts" else read_photos

    class Trusting(HTTPAdapter):
        """Its own documentation has a private authority trusted like this."""

        def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:  # noqa: ARG002
            super().cert_verify(conn=conn, url=url, verify=info["ca_file"], cert=cert)

    BaseProtocol.HTTP_ADAPTER_CLS = Trusting
    place = info["onprem"]
    configuration = Configuration(
        service_endpoint=place["ews_url"],
        credentials=Credentials(place["username"], place["password"]),
        auth_type=NTLM if info["auth"] == "ntlm" else BASIC,
        version=_PINNED,
        retry_policy=FailFast(),
    )
    account = Account(address, config=configuration, autodiscover=False, access_type=IMPERSONATION)
    account.contacts.refresh()  # signs in and finds the folder, which is no part of reading it
    print(json.dumps(read(account)))


def _sync(account: Account, state: str | None) -> tuple[int, str]:
    count = 0
    for _, contact in account.contacts.sync_items(sync_state=state):
        for name in _ATTRIBUTES:
            getattr(contact, name)
        count += 1
    return count, account.contacts.item_sync_state


def _less(watch: Watch, idle: Watch) -> dict[str, float]:
    return {"wall": watch.wall - idle.wall, "cpu": watch.cpu - idle.cpu, "peak_mib": peak_mib()}


if __name__ == "__main__":
    main(*sys.argv[1:])
