"""Secrets and personal data are planted, and then searched for in everything that the product leaves behind.

They may be in two places: in the administrator's own files (what was given, and what was exported on demand), and, the
root key alone, in the file of the root-key provider `file`.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from syncvault.secret import Secret
from syncvault.vault import tenants
from syncvault.vault.opening import open_vault
from tests.acceptance.canaries import Aviary, Canary, Kind
from tests.acceptance.conftest import ROOT, Shell, exchange
from tests.acceptance.test_damage import spoil
from tests.kerberos_realm import ACCOUNT, REALM, kerberos_realm
from tests.parts import require_modules
from tests.simulators.company.model import Company
from tests.simulators.company.pictures import jpeg
from tests.simulators.online.server import OnlineSimulator
from tests.simulators.onprem.server import OnpremSimulator
from tests.simulators.onprem.sign_in import ALL_SCHEMES

pytestmark = pytest.mark.slow

TENANT = "zq7x-kanarienzucht"
LINES = {Kind.PERSONAL}  # what lists of contacts show


@pytest.fixture
def aviary(shell: Shell, tmp_path: Path) -> Aviary:
    (shell.files / "given").mkdir()
    return Aviary(shell, tmp_path / "temporary")


@pytest.fixture
def owner(aviary: Aviary, company: Company) -> str:
    """Somebody whose mailbox holds a contact with everything; gives the object ID."""
    address = aviary.plant("mailbox address", Kind.PERSONAL, "zq7x.postfach@example.com")  # on the owner's card too
    person = company.add_person(
        display_name=aviary.plant("directory entry", Kind.PERSONAL, "Zq7x Käfig-Inhaberin"),
        mail=address,
        user_principal_name=address,
    )
    folder = company.add_folder(person.object_id, aviary.plant("folder", Kind.PERSONAL, "Zq7x Vögel & Co"))
    company.add_contact(person.object_id, display_name="Zq7x Erstling")
    photo = jpeg("zq7x", weight=6_000)
    item = company.add_contact(
        person.object_id,
        folder.id,
        display_name=aviary.plant("contact's name", Kind.PERSONAL, "Zq7x Piepmätzchen"),
        email_addresses=(aviary.plant("contact's address", Kind.PERSONAL, "zq7x.küken+1@nest.example"),),
        mobile_phone=aviary.plant("contact's phone", Kind.PERSONAL, "+49 151 70707070"),
        notes=aviary.plant("contact's notes", Kind.PERSONAL, "Zq7x singt nur bei »Sonne«"),
        photo=photo,
    )
    aviary.plant("photo", Kind.PERSONAL, photo[1000:1032])
    aviary.plant("server's item ID", Kind.SECRET, item.id)
    aviary.plant("server's folder ID", Kind.SECRET, folder.id)
    return person.object_id


def contract(aviary: Aviary) -> list[str]:
    """What is known of the customer."""
    return [
        *("--admin-mail", aviary.plant("administrator", Kind.MASKED, "zq7x.admin@kunde.example")),
        *("--billing-mail", aviary.plant("billing", Kind.MASKED, "zq7x.rechnung@kunde.example")),
        *("--customer-number", aviary.plant("customer number", Kind.NAME, "ZQ7X-2026-0815")),
        *aviary.shell.common_options(),
    ]


def online_options(aviary: Aviary, online: OnlineSimulator) -> list[str]:
    aviary.plant("directory ID", Kind.NAME, online.directory_id)
    options = ["--directory-id", online.directory_id, "--client-id", online.client_id]
    return [*options, "--authority", online.origin, "--graph-url", online.origin, *contract(aviary)]


def plant_keys(aviary: Aviary, passphrase: str = "") -> None:
    """Every key of the vault, as it is while the vault is open."""
    with open_vault(aviary.shell.home, passphrase=lambda: Secret(passphrase)) as vault:
        aviary.plant("root key", Kind.SECRET, vault.keys._root.key)
        for purpose, key in vault.keys._vault_keys.items():
            aviary.plant(f"vault key {purpose}", Kind.SECRET, key)
        for tenant in tenants.call_roll(vault).tenants:
            for purpose, (keys, _) in vault.keys._open_all(tenant.id).items():
                for generation, key in keys.items():
                    aviary.plant(f"tenant key {purpose}/{generation}", Kind.SECRET, key)


def everything_left_behind(aviary: Aviary, tmp_path: Path) -> list[str]:
    """What escaped to the vault, its backups, temporary files and cores, and to the administrator's other files."""
    own = (aviary.shell.files / "given", aviary.shell.files / "keys")
    return aviary.escaped_below(tmp_path, but=own)


def test_nothing_of_an_online_tenant_escapes(
    aviary: Aviary, online: OnlineSimulator, owner: str, tmp_path: Path
) -> None:
    shell, given = aviary.shell, aviary.shell.files / "given"
    shell.init()
    options = online_options(aviary, online)
    secret = aviary.plant("client secret", Kind.SECRET, online.client_secret)
    wrong = aviary.plant("wrong client secret", Kind.SECRET, "zq7x~wrong.Sécret/+value")
    add = ("tenant", "add-online", TENANT, *options, "--secret-stdin")
    aviary("--debug", *add, given=wrong, code=1)
    aviary(*add, "--json", given=secret)
    aviary("source", "add", TENANT, "--user", owner)
    plant_keys(aviary)

    aviary("--debug", "sync", TENANT)
    contacts = aviary("contact", "list", TENANT, "--json", shows=LINES).items
    bird = next(contact for contact in contacts if contact["kind"] == "contact")
    aviary("contact", "show", TENANT, bird["id"], shows=LINES)
    aviary("contact", "export", TENANT, "--format", "vcard", "--out", str(given / "birds.vcf"))
    aviary("tenant", "show", TENANT)
    aviary("source", "list", TENANT)
    for command in ("status", "doctor", "verify", "key status", "audit list", "tenant list", "audit verify"):
        aviary(*command.split())

    password = aviary.plant(
        "certificate's password", Kind.SECRET, online.files.certificate_pfx_password_file.read_text().strip()
    )
    key = online.files.certificate_pem.read_text()
    aviary.plant("certificate's private key", Kind.SECRET, key.splitlines()[12])
    certificate = ("--certificate", str(online.files.certificate_pfx), "--certificate-password-file")
    aviary("--debug", "credential", "rotate", TENANT, *certificate, shell.file("given/wrong", wrong), code=1)
    aviary("credential", "rotate", TENANT, *certificate, shell.file("given/password", password))
    aviary("credential", "show", TENANT)
    aviary("--debug", "credential", "check", TENANT)
    aviary("tenant", "edit", TENANT, "--authority", "https://127.0.0.1:9")
    aviary("--debug", "credential", "check", TENANT, code=1)
    aviary("key", "rotate-tenant", TENANT)
    aviary("key", "rotate-root")
    plant_keys(aviary)

    aviary("backup", "create", "--out", str(tmp_path / "rows"), "--keys-out", str(tmp_path / "wrapped"))
    aviary("backup", "verify", str(tmp_path / "rows"))
    aviary("audit", "export", "--out", str(shell.files / "audit.json"))
    spoil(shell, "contacts", "blob")
    aviary("--debug", "contact", "list", TENANT, "--reveal", "--json", code=1, shows={*LINES, Kind.MASKED})
    aviary("--debug", "verify", code=4)
    assert everything_left_behind(aviary, tmp_path) == []

    aviary("tenant", "delete", TENANT, "--yes", "--receipt", str(shell.files / "receipt.json"))
    assert everything_left_behind(aviary, tmp_path) == []
    exported = aviary.escaped_below(given)  # what is searched for is found where it was put
    assert {found.partition(" in ")[0] for found in exported} >= {"contact's phone", "photo", "certificate's password"}


def test_nothing_of_an_onprem_tenant_in_a_passphrase_vault_escapes(
    aviary: Aviary, onprem: OnpremSimulator, company: Company, owner: str, tmp_path: Path
) -> None:
    shell = aviary.shell
    phrase = aviary.plant("passphrase", Kind.SECRET, "Zq7x: fünf Wörter, lang genug")
    wrong = aviary.plant("wrong passphrase", Kind.SECRET, "Zq7x: sechs andere Wörter sogar")
    password = aviary.plant("password", Kind.SECRET, "Zq7x-Größe+7/Käfig")
    onprem.set_password(password)
    opened = ("--passphrase-file", shell.file("given/passphrase", phrase))
    aviary(*opened, "init", "--root-key", "passphrase")
    aviary("--debug", "--passphrase-file", shell.file("given/other", wrong), "status", code=12)
    aviary("--debug", "status", code=12)

    add = ("tenant", "add-onprem", TENANT, "--ews-url", onprem.url, "--username", onprem.username, *contract(aviary))
    aviary(*opened, "--debug", *add, "--password-stdin", given=wrong, code=1)
    aviary(*opened, *add, "--password-stdin", given=password)
    aviary.plant("service account", Kind.MASKED, onprem.username)
    plant_keys(aviary, phrase)
    address = company.people[owner].mail
    aviary(*opened, "source", "add", TENANT, "--mailbox", str(address))
    aviary(*opened, "--debug", "sync", TENANT)
    assert len(aviary(*opened, "contact", "list", TENANT, "--json", shows=LINES).items) == 3
    aviary(*opened, "backup", "create", "--out", str(tmp_path / "rows"), "--keys-out", str(tmp_path / "wrapped"))

    later = aviary.plant("later password", Kind.SECRET, "Zq7x-Nächster+8/Käfig")
    onprem.set_password(later)
    aviary(*opened, "--debug", "sync", TENANT, code=1)  # refused, and quarantined
    aviary(*opened, "credential", "rotate", TENANT, "--password-stdin", given=later)
    aviary(*opened, "sync", TENANT)
    assert everything_left_behind(aviary, tmp_path) == []
    aviary(*opened, "tenant", "delete", TENANT, "--yes", code=3)  # interim: the passphrase still opens old copies
    assert everything_left_behind(aviary, tmp_path) == []


def test_nothing_of_a_keytab_a_ticket_cache_or_an_oauth_client_escapes(
    aviary: Aviary, company: Company, owner: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    require_modules("gssapi")
    shell, options = aviary.shell, contract(aviary)
    shell.init()
    with kerberos_realm(tmp_path_factory.mktemp("realm")) as realm:
        service = {"host": "localhost", "schemes": ALL_SCHEMES, "keytab": realm.keytab(f"HTTP/localhost@{REALM}")}
        with exchange(shell.authority, company, **service) as simulator:
            keytab, other = realm.keytab(ACCOUNT), realm.keytab(f"other@{REALM}")
            for file in (keytab, other):
                aviary.plant(f"key in {file.name}", Kind.SECRET, file.read_bytes()[-20:-4])
            aviary.plant("service account", Kind.MASKED, simulator.upn)
            add = ("tenant", "add-onprem", TENANT, "--ews-url", simulator.url, "--username", simulator.upn, *options)
            aviary("--debug", *add, "--keytab", str(other), code=1)
            aviary("--debug", *add, "--keytab", str(keytab))
            plant_keys(aviary)
            aviary("source", "add", TENANT, "--mailbox", str(company.people[owner].mail))
            aviary("--debug", "sync", TENANT)
            assert everything_left_behind(aviary, tmp_path) == []

            aviary("--debug", "credential", "rotate", TENANT, "--ccache", str(realm.ticket_cache()))
            secret = aviary.plant("client secret", Kind.SECRET, simulator.tokens.client_secret)
            where = ("--token-url", simulator.token_url, "--client-id", simulator.tokens.client_id, "--secret-stdin")
            wrong = aviary.plant("wrong client secret", Kind.SECRET, "Zq7x-Woven-Käfig-4")
            aviary("--debug", "credential", "rotate", TENANT, *where, given=wrong, code=1)
            answers = [aviary("--debug", "credential", "rotate", TENANT, *where, given=secret)]
            answers += [aviary("--debug", *argv) for argv in (("sync", TENANT), ("credential", "check", TENANT))]
            answers += [aviary(*argv, TENANT) for argv in (("credential", "show"), ("tenant", "show"))]
    for token in simulator.tokens.given:
        aviary.plant("token", Kind.SECRET, token)
    assert simulator.tokens.given
    assert not any(
        aviary.escaped_to((one.out + one.err).encode(), "output", allowed=set(Kind) - {Kind.SECRET}) for one in answers
    )
    assert everything_left_behind(aviary, tmp_path) == []


@contextmanager
def held_up_halfway(online: OnlineSimulator) -> Iterator[threading.Event]:
    """A server that does not answer for the second folder; gives what tells that it was asked."""
    asked, go_on, folders = threading.Event(), threading.Event(), list[object]()

    def wait(request: object, page: dict[str, Any]) -> dict[str, Any]:
        folders.append(request)
        if len(folders) > 1:
            asked.set()
            go_on.wait(60)
        return page

    online.faults.rewrite_next("contacts/delta", wait, times=2)
    try:
        yield asked
    finally:
        go_on.set()


def end(process: subprocess.Popen[bytes], by: signal.Signals) -> bool:
    """Ends a process; whether its memory was dumped."""
    process.send_signal(by)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == -by
    return os.WCOREDUMP(status)


def memory_of(pid: int) -> bytes:
    """What is in a process's memory, for who may look."""
    found = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            if rights.startswith("rw"):
                first, last = (int(number, 16) for number in span.split("-"))
                memory.seek(first)
                found.append(memory.read(last - first))
    return b"".join(found)


def family(pid: int) -> list[int]:
    """A process and its children, and theirs."""
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    return [
        pid,
        *(each for children in listed for child in children.read_text().split() for each in family(int(child))),
    ]


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV])
def test_nothing_escapes_from_a_sync_that_dies_in_the_middle(
    aviary: Aviary, online: OnlineSimulator, owner: str, tmp_path: Path, by: signal.Signals
) -> None:
    shell = aviary.shell
    shell.init()
    secret = aviary.plant("client secret", Kind.SECRET, online.client_secret)
    aviary("tenant", "add-online", TENANT, *online_options(aviary, online), "--secret-stdin", given=secret)
    aviary("source", "add", TENANT, "--user", owner)
    plant_keys(aviary)
    died_in = tmp_path / "died-in"
    died_in.mkdir()
    environment = aviary.environment()
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    with (
        held_up_halfway(online) as asked,
        (tmp_path / "said").open("wb") as said,
        subprocess.Popen(
            shell.line("--debug", "sync", TENANT), cwd=died_in, env=environment, stdout=said, stderr=said
        ) as process,
    ):
        while not asked.wait(0.1):
            assert process.poll() is None, (tmp_path / "said").read_text()
        for pid in family(process.pid):
            assert aviary.escaped_to(Path(f"/proc/{pid}/cmdline").read_bytes(), "cmdline", allowed={Kind.NAME}) == []
            look_into(aviary, pid)
        dumped = end(process, by)
    assert not dumped
    assert list(died_in.iterdir()) == []
    assert aviary.escaped_below(tmp_path, but=(shell.files / "given", shell.files / "keys", tmp_path / "said")) == []
    assert aviary.escaped_to((tmp_path / "said").read_bytes(), "what it said", allowed={Kind.NAME}) == []


def look_into(aviary: Aviary, pid: int) -> None:
    """What others see of a process that is at work: root everything, its own user nothing."""
    if os.geteuid() != 0:
        with pytest.raises(PermissionError):
            Path(f"/proc/{pid}/environ").read_bytes()
        return
    assert aviary.escaped_to(Path(f"/proc/{pid}/environ").read_bytes(), "environ") == []
    secret = next(canary for canary in aviary.canaries if canary.what == "client secret")
    assert secret.value in memory_of(pid), "a core would hold nothing worth looking for"
    with suppress(PermissionError):  # where root may not, the limit is one more reason for there being no core
        resource.prlimit(pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.mark.parametrize(
    "spell",
    [
        lambda text: text.encode("utf-16-le"),
        lambda text: b"x" + text.encode() + b"y",
        lambda text: base64.b64encode(b"ab" + text.encode() + b"cde"),
        lambda text: text.encode().hex().encode(),
        lambda text: json.dumps({"k": text}).encode(),
        lambda text: quote(f"a {text}").encode(),
        lambda text: repr([text.encode()]).encode(),
    ],
)
def test_a_canary_is_known_in_every_spelling(spell: Callable[[str], bytes]) -> None:
    canary = Canary.of("x", Kind.SECRET, "Zq7x-Größe+7/Käfig")
    assert any(form in spell("Zq7x-Größe+7/Käfig") for form in canary.spellings())
