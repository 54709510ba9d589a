"""Tickets and tokens: refused once, said once, and one mailbox's refusal is its own, with five mailboxes at work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from syncvault.secret import Secret
from syncvault.sync.summary import Status, Summary
from syncvault.vault import tenants
from syncvault.vault.model import Credential, CredentialKind, Tenant
from syncvault.vault.vault import Vault
from tests.conftest import Authority
from tests.integration.onprem_parts import PEOPLE, Respond, addresses, register, stand_between
from tests.integration.vault_parts import sync
from tests.kerberos_realm import ACCOUNT, REALM, Realm, kerberos_realm
from tests.parts import require_modules, require_programs
from tests.simulators.company.model import Company
from tests.simulators.onprem.server import OnpremSimulator
from tests.simulators.onprem.tokens import refusal
from tests.simulators.onprem.transport import Incoming, Outgoing

pytestmark = [pytest.mark.usefixtures("no_waiting"), pytest.mark.slow]
ALIEN = Outgoing(200, b'{"access_token": "of.somebody.else", "token_type": "Bearer"}')


@dataclass
class House:
    """A company's Exchange, a tenant registered for it, and how it signs in there."""

    vault: Vault
    server: OnpremSimulator
    way: str
    realm: Realm | None
    tenant: Tenant
    shown: list[str] = field(default_factory=list)  # proofs, as often as they came

    def watch(self, incoming: Incoming, respond: Respond) -> Outgoing:
        """Notes the proofs that come."""
        shown = incoming.headers.get("Authorization")
        if shown:
            self.shown.append(shown)
        return respond(incoming)

    def between(self, stranger: Callable[[Incoming, Respond], Outgoing]) -> None:
        stand_between(self.server, stranger)

    def sync(self) -> Summary:
        return sync(self.vault, tenants.find(self.vault, "acme"), mailboxes=5)

    def shut_out(self) -> None:
        """Exchange takes nothing of what it took so far, nor anything new."""
        if self.way == "oauth":
            self.server.tokens.revoke()
            self.server.tokens.instead = ALIEN
        else:
            self.server.disable_account()

    @property
    def refused(self) -> int:
        """How often Exchange refused what was shown to it."""
        return self.server.refused_logins + len(self.server.tokens.refused)

    @property
    def is_quarantined(self) -> bool:
        return tenants.find(self.vault, "acme").quarantine is not None


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    require_modules("gssapi")
    (tmp_path / "realm").mkdir()
    with kerberos_realm(tmp_path / "realm") as realm:
        yield realm


@pytest.fixture(params=["kerberos", "kerberos with each request", "oauth"])
def house(request: pytest.FixtureRequest, vault: Vault, company: Company, authority: Authority) -> Iterator[House]:
    way = request.param
    realm = request.getfixturevalue("realm") if way != "oauth" else None
    with ExitStack() as ending:
        server = OnpremSimulator(
            company,
            authority.ca,
            host="localhost",
            schemes=("Negotiate", "NTLM") if realm else ("Bearer",),
            keytab=realm.keytab(f"HTTP/localhost@{REALM}") if realm else None,
            keeps_kerberos=way == "kerberos",
        )
        server.start()
        ending.callback(server.stop)
        if realm:
            known = {"auth": "kerberos", "username": ACCOUNT}
            credential = Credential(CredentialKind.KEYTAB, Secret(realm.keytab(ACCOUNT).read_bytes()))
        else:
            known = {"auth": "oauth", "username": server.upn, "token_url": server.token_url}
            known["client_id"] = server.tokens.client_id
            credential = Credential(CredentialKind.SECRET, Secret(server.tokens.client_secret))
        tenant = register(vault, server, authority, credential=credential, **known)
        house = House(vault, server, way, realm, tenant)
        house.between(house.watch)
        yield house
    assert server.recorder.crashes == []


only = pytest.mark.parametrize("house", ["oauth"], indirect=True)
kerberos = pytest.mark.parametrize("house", ["kerberos", "kerberos with each request"], indirect=True)


def said(run: Summary) -> tuple[Status, list[str]]:
    """How a run ended, and the codes of what it says failed."""
    return run.status, [failure.code for failure in run.failures]


def at_work(house: House, then: Callable[[], object], together: int = len(PEOPLE)) -> None:
    """Does something once so many mailboxes are being read, before their requests are judged."""
    meeting = threading.Barrier(together, then)
    arrived = threading.Semaphore(together)

    def meet(incoming: Incoming, respond: Respond) -> Outgoing:
        if b"SyncFolderItems" in incoming.body and arrived.acquire(blocking=False):
            meeting.wait(30)
        return respond(incoming)

    house.between(meet)


def test_what_exchange_never_takes_is_shown_once(house: House) -> None:
    house.shut_out()

    assert house.sync().status == Status.QUARANTINED
    assert house.refused == 1
    heard = len(house.server.recorder.entries)
    for _ in range(3):
        assert house.sync().status == Status.QUARANTINED
    assert len(house.server.recorder.entries) == heard


@kerberos
def test_a_ticket_refused_under_all_mailboxes_at_work_is_refused_once(house: House) -> None:
    # Shown with each request, it goes with one of them at a time.
    at_work(house, house.shut_out, len(PEOPLE) if house.way == "kerberos" else 1)

    assert said(house.sync()) == (Status.QUARANTINED, ["http-401"])
    assert house.refused == 1
    assert house.is_quarantined


@only
def test_a_token_refused_under_all_mailboxes_at_work_is_refused_to_those_and_its_successor_once(house: House) -> None:
    at_work(house, house.shut_out)

    assert said(house.sync()) == (Status.QUARANTINED, ["http-401"])
    assert house.is_quarantined
    refused = house.server.tokens.refused
    assert len(set(refused)) == 2
    assert (refused.count("of.somebody.else"), len(refused)) == (1, 1 + len(PEOPLE))


@only
def test_a_token_that_ends_under_all_mailboxes_at_work_is_replaced_once(house: House) -> None:
    at_work(house, house.server.tokens.revoke)

    assert said(house.sync()) == (Status.OK, [])
    assert len(house.server.tokens.asked) == 2
    assert len(house.server.tokens.refused) == len(PEOPLE)


def test_a_sign_in_whose_answer_gets_lost_is_not_repeated_in_that_run(house: House) -> None:
    def drop(incoming: Incoming, respond: Respond) -> Outgoing:
        answer = respond(incoming)
        return Outgoing(200, end="reset") if incoming.headers.get("Authorization") else answer

    house.between(drop)

    assert said(house.sync()) == (Status.FAILED, ["sign-in-unanswered"])
    assert len(house.shown) == 1
    assert not house.is_quarantined


def test_connections_that_break_in_mid_run_are_made_anew_and_signed_in_to(house: House) -> None:
    house.server.faults.reset(operation="SyncFolderItems", times=2)
    house.server.faults.reset(operation="GetItem", times=1)

    assert said(house.sync()) == (Status.OK, [])
    assert house.refused == 0


@pytest.mark.parametrize("operation", [b"", b"SyncFolderItems"], ids=["from the start", "in mid-run"])
def test_a_401_of_something_else_on_the_way_refuses_nothing(house: House, operation: bytes) -> None:
    def refuse(incoming: Incoming, respond: Respond) -> Outgoing:
        if operation in incoming.body:
            return Outgoing(401, headers=(("WWW-Authenticate", 'Basic realm="proxy"'),))
        return respond(incoming)

    house.between(refuse)
    run = house.sync()

    assert {failure.code for failure in run.failures} == {"sign-in-method"}
    assert house.refused == 0
    assert not house.is_quarantined


@pytest.mark.parametrize("status", [200, 405])
def test_a_server_that_answers_anybody_who_asks_for_nothing_is_signed_in_to_by_requests(
    house: House, status: int
) -> None:
    house.between(lambda incoming, respond: Outgoing(status) if incoming.method == "GET" else respond(incoming))

    assert said(house.sync()) == (Status.OK, [])
    assert house.refused == 0


@only
def test_a_new_token_goes_with_a_request_once_the_server_answers_anybody_who_asks_for_nothing(house: House) -> None:
    at_work(house, house.server.tokens.revoke)
    tokens = house.server.tokens
    house.between(
        lambda incoming, respond: Outgoing(200) if incoming.method == "GET" and tokens.refused else respond(incoming)
    )

    assert said(house.sync()) == (Status.OK, [])
    assert len(tokens.asked) == 2


@pytest.mark.parametrize("house", ["kerberos"], indirect=True)
@pytest.mark.parametrize("status", [429, 502, 503])
def test_who_is_too_busy_for_the_first_request_is_shown_one_ticket_a_connection_all_the_same(
    house: House, status: int
) -> None:
    busy = threading.Semaphore(1)

    def be_busy(incoming: Incoming, respond: Respond) -> Outgoing:
        return Outgoing(status) if busy.acquire(blocking=False) else respond(incoming)

    house.between(be_busy)

    assert said(house.sync()) == (Status.OK, [])
    assert len(house.shown) <= 5


def refuse_first(house: House) -> None:
    """One mailbox's requests end in a 401, whatever they show; its server is broken."""
    offered = "Bearer" if house.way == "oauth" else "Negotiate"
    first = addresses(house.server)[0].lower()

    def refuse(incoming: Incoming, respond: Respond) -> Outgoing:
        if (incoming.headers.get("X-AnchorMailbox") or "").lower() == first:
            return Outgoing(401, headers=(("WWW-Authenticate", offered),))
        return respond(incoming)

    house.between(refuse)


@pytest.mark.parametrize("house", ["kerberos", "oauth"], indirect=True)
def test_a_401_for_some_mailboxes_is_theirs_alone(house: House) -> None:
    refuse_first(house)
    run = house.sync()

    assert said(run) == (Status.PARTIAL, ["http-401"])
    assert (run.mailboxes, house.refused) == (len(PEOPLE), 0)
    assert len(house.server.tokens.asked) <= 4  # as often as a request is tried


@pytest.mark.parametrize("house", ["kerberos with each request"], indirect=True)
def test_a_ticket_that_goes_with_each_request_is_not_shown_again_after_a_401(house: House) -> None:
    refuse_first(house)

    assert house.sync().status == Status.QUARANTINED


@kerberos
def test_the_realm_refuses_a_key_once_that_is_replaced_under_all_mailboxes_at_work(house: House) -> None:
    assert house.realm is not None
    realm = house.realm
    realm.administer(f"modprinc -maxlife 5min {ACCOUNT}")  # so short that each sign-in takes a new one

    def replace() -> None:
        realm.keytab(ACCOUNT, new_keys=True)
        house.server.accounts.generation += 1  # everybody is asked anew

    at_work(house, replace, len(PEOPLE) if house.way == "kerberos" else 1)

    status, codes = said(house.sync())
    assert (status, len(codes)) == (Status.QUARANTINED, 1)
    assert realm.failed_attempts() <= 1
    assert house.refused == 0


@kerberos
@pytest.mark.parametrize("in_mid_run", [False, True])
def test_a_realm_that_is_down_is_said_once(house: House, in_mid_run: bool) -> None:
    assert house.realm is not None
    realm = house.realm
    realm.administer(f"modprinc -maxlife 5min {ACCOUNT}")

    def stop() -> None:
        realm.stop()
        house.server.accounts.generation += 1

    if in_mid_run:
        at_work(house, stop, len(PEOPLE) if house.way == "kerberos" else 1)
    else:
        realm.stop()

    assert said(house.sync()) == (Status.FAILED, ["kdc-unreachable"])
    assert not house.is_quarantined


@kerberos
def test_a_realm_whose_clock_differs_is_said_once(house: House) -> None:
    require_programs("faketime")
    assert house.realm is not None
    house.realm.stop()
    house.realm.start("faketime", "-f", "+1h")

    assert said(house.sync()) == (Status.FAILED, ["clock-skew"])


@kerberos
def test_a_server_that_cannot_read_tickets_any_more_is_blamed_once(house: House) -> None:
    assert house.realm is not None
    house.realm.keytab(f"HTTP/localhost@{REALM}", new_keys=True)

    assert said(house.sync()) == (Status.FAILED, ["service-key"])
    assert house.refused == 1
    assert not house.is_quarantined


@only
@pytest.mark.parametrize("in_mid_run", [False, True])
@pytest.mark.parametrize(
    ("instead", "status", "code"),
    [
        (refusal(503, "temporarily_unavailable", ""), Status.FAILED, "temporarily_unavailable"),
        (Outgoing(429, b"", (("Retry-After", "7200"),)), Status.FAILED, "token-endpoint"),
        (Outgoing(200, end="reset"), Status.FAILED, "token-endpoint"),
        (refusal(400, "invalid_resource", "MSIS9602"), Status.FAILED, "MSIS9602"),
        (refusal(401, "invalid_client", "MSIS9622"), Status.QUARANTINED, "MSIS9622"),
    ],
    ids=["down", "busy", "broken", "wrong resource", "refuses"],
)
def test_a_token_endpoint_that_fails_is_said_once(
    house: House, instead: Outgoing, status: Status, code: str, in_mid_run: bool
) -> None:
    def fail() -> None:
        house.server.tokens.revoke()
        house.server.tokens.instead = instead

    if in_mid_run:
        at_work(house, fail)
    else:
        fail()

    assert said(house.sync()) == (status, [code])
    assert house.is_quarantined is (status == Status.QUARANTINED)
    attempts = 4 if code == "temporarily_unavailable" else 1
    assert len(house.server.tokens.asked) == attempts + in_mid_run
