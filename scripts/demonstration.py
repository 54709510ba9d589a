"""The demo: a story told by the real command line against simulated servers, over real TLS and real sign-ins."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import requests

ROOT = Path(__file__).resolve().parent.parent
SYNCVAULT = Path(sys.executable).with_name("syncvault")
BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


class Story:
    """Runs commands as a reader would type them, and shows what they say."""

    def __init__(self, place: Path, simulators: dict[str, Any]) -> None:
        self.simulators = simulators
        self.online, self.onprem = simulators["online"], simulators["onprem"]
        self.place = place
        self.home = place / "vault"
        self.environment = os.environ | {"SYNCVAULT_HOME": str(self.home), "XDG_CONFIG_HOME": str(place / "config")}

    def chapter(self, title: str) -> None:
        """Begins a step."""
        print(f"\n{BOLD}── {title}{PLAIN}", flush=True)

    def run(self, *words: str, stdin: str | None = None) -> None:
        """Types a command; ends the demo if it fails."""
        print(f"{DIM}$ syncvault {self._typed(words)}{PLAIN}", flush=True)
        subprocess.run([SYNCVAULT, *words], env=self.environment, check=True, text=True, input=stdin)

    def ask(self, *words: str) -> dict[str, Any]:
        """Asks for JSON without showing it."""
        command = [SYNCVAULT, *words, "--json"]
        answer = subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True)
        data: dict[str, Any] = json.loads(answer.stdout)["data"]
        return data

    def change_source(self, **change: Any) -> None:
        """Edits the simulated company."""
        answer = requests.post(
            f"{self.simulators['control_url']}/company", json=change, verify=self.simulators["ca_file"], timeout=10
        )
        answer.raise_for_status()

    def people(self) -> list[dict[str, Any]]:
        """The simulated company's people, with their mailboxes."""
        answer = requests.get(
            f"{self.simulators['control_url']}/company", verify=self.simulators["ca_file"], timeout=10
        )
        people: list[dict[str, Any]] = answer.json()["people"]
        return people

    def _typed(self, words: tuple[str, ...]) -> str:
        return " ".join(word.replace(f"{self.place}/", "") for word in words)


def tell(story: Story) -> None:
    """The story, from the first vault to a verified receipt."""
    story.chapter("A vault, its root key in a file of its own")
    story.run("init", "--root-key", "file", "--root-key-file", str(story.place / "root-key" / "root.key"))
    public_key = story.place / "receipt-public-key.pem"
    public_key.write_text(story.ask("receipt", "public-key")["receipt_public_key"], encoding="ascii")

    story.chapter("Two customers: one in Exchange Online, one with an Exchange of its own")
    register(story)

    story.chapter("The first sync pulls everything")
    story.run("sync", "--all")
    story.run("status")
    show_some_contacts(story)

    story.chapter("At the source somebody is edited, somebody hired, somebody deleted; only that moves")
    edit_source(story)
    story.run("sync", "--all")

    story.chapter("The phone book as vCards")
    cards = story.place / "contacts.vcf"
    story.run("contact", "export", "contoso", "--format", "vcard", "--out", str(cards))
    print(f"{cards.read_text('utf-8').count('BEGIN:VCARD')} vCards in {cards.name}")

    story.chapter("On the disk there is no plaintext")
    search_for_plaintext(story)

    story.chapter("Contoso leaves: everything is deleted, with a receipt that anyone can verify")
    receipt = story.place / "receipt.json"
    story.run("tenant", "delete", "contoso")
    story.run("tenant", "delete", "contoso", "--yes", "--receipt", str(receipt))
    story.run("receipt", "verify", str(receipt), "--public-key", str(public_key))
    story.run("tenant", "list")


def register(story: Story) -> None:
    """Registers both tenants and their sources."""
    online, onprem, ca = story.online, story.onprem, story.simulators["ca_file"]
    story.run(
        *("tenant", "add-online", "contoso", "--directory-id", online["directory_id"]),
        *("--client-id", online["client_id"], "--certificate", online["certificate_pfx"]),
        *("--certificate-password-file", online["certificate_pfx_password_file"]),
        *("--authority", online["authority"], "--graph-url", online["graph_url"], "--ca-bundle", ca),
        *("--admin-mail", "admin@contoso.example", "--paid-until", "2030-01-01", "--time-zone", "Europe/Berlin"),
    )
    story.run(
        *("tenant", "add-onprem", "fabrikam", "--ews-url", onprem["ews_url"], "--username", onprem["username"]),
        *("--password-file", onprem["password_file"], "--auth", "ntlm", "--ca-bundle", ca),
        *("--admin-mail", "admin@fabrikam.example", "--trial-until", "2030-01-01", "--time-zone", "Europe/Berlin"),
    )
    everybody = online["groups"][0]["object_id"]
    story.run("source", "add", "contoso", "--group", everybody)
    story.run(
        "source", "add", "fabrikam", *(word for address in onprem["mailboxes"] for word in ("--mailbox", address))
    )


def show_some_contacts(story: Story) -> None:
    """A few contacts, as many scripts as there are among them."""
    items = story.ask("contact", "list", "contoso")["items"]
    for item in [entry for entry in items if entry["email_addresses"] and entry["has_photo"]][:6]:
        print(f"  {item['kind']:8}{item['email_addresses'][0]:36}{item['display_name']}")
    print(f"  … and {len(items) - 6} more, each with a purge date ({items[0]['purge_on']})")


def edit_source(story: Story) -> None:
    """One change, one addition and one removal at the source."""
    owner = next(person for person in story.people() if person["mailbox"] and person["enabled"])
    folder = next(entry for entry in owner["mailbox"]["folders"] if len(entry["items"]) > 1)
    first, second = folder["items"][0]["id"], folder["items"][1]["id"]
    where = {"object_id": owner["object_id"]}
    story.change_source(do="change_contact", **where, item_id=first, job_title="Chief Executive Officer")
    story.change_source(do="add_contact", **where, folder_id=folder["id"], display_name="Newly Hired")
    story.change_source(do="remove_contact", **where, item_id=second)


def search_for_plaintext(story: Story) -> None:
    """Looks for every name, address and number that was just listed in every file of the vault."""
    needles = {text for text in texts(story.ask("contact", "list", "contoso", "--reveal")) if len(text) > 3}
    files = [path for path in story.home.rglob("*") if path.is_file()]
    contents = b"\n".join(path.read_bytes() for path in files)
    forms = ((needle, needle.encode(form)) for needle in needles for form in ("utf-8", "utf-16-le"))
    # Four or five bytes turn up in megabytes of ciphertext by chance, once in a hundred times.
    found = [needle for needle, form in forms if len(form) > 5 and form in contents]
    print(f"{len(needles)} names, addresses and numbers searched for in {len(files)} files: {len(found)} found.")
    if found:
        raise SystemExit("There is plaintext in the vault; that is a bug.")


def texts(listing: dict[str, Any]) -> Iterator[str]:
    """Every personal text in a contact list."""
    for item in listing["items"]:
        yield item["mailbox"]["ref"]
        for key in ("display_name", "given_name", "surname", "mobile_phone", "notes"):
            yield item[key] or ""
        for key in ("email_addresses", "business_phones", "home_phones"):
            yield from item[key]


@contextmanager
def simulated_servers(place: Path) -> Iterator[dict[str, Any]]:
    """Both simulators in a process of their own."""
    command = [sys.executable, "-m", "tests.simulators", "--online", "0", "--onprem", "0", "--directory", str(place)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(next(iter(process.stdout or ())))
        finally:
            process.terminate()


def wait_to_be_ended(story: Story) -> None:
    """Leaves everything running until somebody presses Ctrl+C."""
    print(f"\nStill running. In another shell:\n  export SYNCVAULT_HOME={story.home} PATH={SYNCVAULT.parent}:$PATH")
    print("  syncvault tenant list\nCtrl+C ends it and removes everything.", flush=True)
    try:
        sys.stdin.read() if not sys.stdin.isatty() else subprocess.run(["sleep", "infinity"], check=False)
    except KeyboardInterrupt:
        print()


def main() -> None:
    """Runs the demo."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Shows syncvault at work.")
    parser.add_argument("--keep", action="store_true", help="leave the simulators and the vault running")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="syncvault-demo-"))
    began = monotonic()
    try:
        with simulated_servers(place / "servers") as simulators:
            story = Story(place, simulators)
            tell(story)
            print(f"\nThat took {monotonic() - began:.0f} s.")
            if options.keep:
                wait_to_be_ended(story)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
