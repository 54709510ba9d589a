"""What the vault of a directory holds, in numbers and a digest that knows no order: prints JSON."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Final

import orjson

from scripts.benchmarks.vaults import TENANT, home_in
from syncvault.vault import tenants
from syncvault.vault.content import contacts
from syncvault.vault.opening import open_vault

_MODULUS: Final = 1 << 256


def main(directory: str) -> None:
    contents, photos, digest = 0, 0, 0
    with open_vault(home_in(Path(directory))) as vault:
        for contact in contacts.stream(vault, tenants.find(vault, TENANT)):
            told = [contact.mailbox.key, contact.kind, contact.folder, contact.fields, contact.photo_sha256]
            entry = hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).digest()
            digest = (digest + int.from_bytes(entry, "big")) % _MODULUS  # a sum knows no order
            contents += 1
            photos += contact.has_photo
    print(json.dumps({"contacts": contents, "photos": photos, "digest": f"{digest:064x}"}))


if __name__ == "__main__":
    main(*sys.argv[1:])
