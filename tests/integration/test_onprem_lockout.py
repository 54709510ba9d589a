"""A service account is never locked out by us: one refused sign-in at most in a run, wherever in it that happens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from syncvault.sync.summary import Status
from syncvault.vault import tenants
from syncvault.vault.vault import Vault
from tests.conftest import Authority
from tests.integration.onprem_parts import PEOPLE, Respond, addresses, register, stand_between
from tests.integration.vault_parts import sync
from tests.simulators.onprem.server import OnpremSimulator
from tests.simulators.onprem.transport import Incoming, Outgoing

pytestmark = pytest.mark.usefixtures("no_waiting")
WAYS = pytest.mark.parametrize("auth", ["ntlm", "basic"])


@pytest.fixture
def between(onprem: OnpremSimulator) -> Callable[[Callable[..., Outgoing]], None]:
    """Puts something between clients and the server, as `stand_between` does."""
    return partial(stand_between, onprem)


def proves(incoming: Incoming) -> bool:
    """Whether a request shows the password, or what is made of it."""
    return (incoming.headers.get("Authorization") or "").startswith(("NTLM TlRMTVNTUAAD", "Basic"))


@WAYS
def test_a_wrong_password_is_refused_once_and_then_not_offered_any_more(
    vault: Vault, onprem: OnpremSimulator, authority: Authority, auth: str
) -> None:
    tenant = register(vault, onprem, authority, auth=auth, password="wrong")

    run = sync(vault, tenant, mailboxes=5)

    assert (run.status, onprem.refused_logins) == (Status.QUARANTINED, 1)
    heard = len(onprem.recorder.entries)
    for _ in range(3):
        assert sync(vault, tenants.find(vault, "acme"), mailboxes=5).status == Status.QUARANTINED
    assert (len(onprem.recorder.entries), onprem.refused_logins) == (heard, 1)


@WAYS
def test_a_password_changed_under_all_mailboxes_at_work_is_refused_once(
    vault: Vault, onprem: OnpremSimulator, authority: Authority, between: Callable[..., None], auth: str
) -> None:
    tenant = register(vault, onprem, authority, auth=auth)
    # Basic shows the password with every request, so only one of them is under way.
    together = threading.Barrier(len(PEOPLE) if auth == "ntlm" else 1, lambda: onprem.set_password("Another-Horse-8"))
    arrived = threading.Semaphore(together.parties)

    def change(incoming: Incoming, respond: Respond) -> Outgoing:
        if b"SyncFolderItems" in incoming.body and arrived.acquire(blocking=False):
            together.wait(30)
        return respond(incoming)

    between(change)
    run = sync(vault, tenant, mailboxes=5)

    assert not together.broken
    assert (run.status, onprem.refused_logins) == (Status.QUARANTINED, 1)


@pytest.mark.parametrize("password", ["ntlm", "ntlm wrong", "basic", "basic wrong"])
def test_a_sign_in_whose_answer_gets_lost_is_not_repeated_in_that_run(
    vault: Vault, onprem: OnpremSimulator, authority: Authority, between: Callable[..., None], password: str
) -> None:
    auth, _, wrong = password.partition(" ")
    shown: list[Incoming] = []

    def drop(incoming: Incoming, respond: Respond) -> Outgoing:
        answer = respond(incoming)
        if proves(incoming):
            shown.append(incoming)
            return Outgoing(200, end="reset")
        return answer

    between(drop)
    tenant = register(vault, onprem, authority, auth=auth, password=wrong)

    run = sync(vault, tenant, mailboxes=5)

    assert (run.status, [failure.code for failure in run.failures]) == (Status.FAILED, ["sign-in-unanswered"])
    assert len(shown) == 1
    assert tenants.find(vault, "acme").quarantine is None


def test_a_server_that_begins_to_drop_what_it_refuses_in_mid_run_locks_nobody_out(
    vault: Vault, onprem: OnpremSimulator, authority: Authority, between: Callable[..., None]
) -> None:
    def change(incoming: Incoming, respond: Respond) -> Outgoing:
        if b"SyncFolderItems" in incoming.body and not onprem.refused_logins:
            onprem.set_password("Another-Horse-8")
        before = onprem.refused_logins
        answer = respond(incoming)
        return answer if onprem.refused_logins == before else Outgoing(200, end="reset")

    between(change)
    run = sync(vault, register(vault, onprem, authority), mailboxes=5)

    assert run.status in {Status.FAILED, Status.PARTIAL}
    assert onprem.refused_logins < onprem.accounts.lock_after
    assert not onprem.accounts.locked


@WAYS
def test_resets_of_requests_say_nothing_about_the_password(
    vault: Vault, onprem: OnpremSimulator, authority: Authority, auth: str
) -> None:
    tenant = register(vault, onprem, authority, auth=auth)
    onprem.faults.reset(operation="GetItem", times=2)

    run = sync(vault, tenant, mailboxes=1)

    assert (run.status, run.failures, onprem.refused_logins) == (Status.OK, [], 0)


@pytest.mark.parametrize("operation", [b"", b"SyncFolderItems"], ids=["from the start", "in mid-run"])
def test_a_401_of_something_else_on_the_way_gets_no_password_and_quarantines_nobody(
    vault: Vault, onprem: OnpremSimulator, authority: Authority, between: Callable[..., None], operation: bytes
) -> None:
    def refuse(incoming: Incoming, respond: Respond) -> Outgoing:
        if operation in incoming.body:
            return Outgoing(401, headers=(("WWW-Authenticate", 'Basic realm="proxy"'),))
        return respond(incoming)

    between(refuse)
    run = sync(vault, register(vault, onprem, authority), mailboxes=5)

    assert {failure.code for failure in run.failures} == {"sign-in-method"}
    assert onprem.refused_logins == 0
    assert tenants.find(vault, "acme").quarantine is None


def test_a_401_for_some_mailboxes_is_theirs_alone(
    vault: Vault, onprem: OnpremSimulator, authority: Authority, between: Callable[..., None]
) -> None:
    first, *others = addresses(onprem)

    def refuse(incoming: Incoming, respond: Respond) -> Outgoing:
        if (incoming.headers.get("X-AnchorMailbox") or "").lower() == first.lower():
            return Outgoing(401, headers=(("WWW-Authenticate", "NTLM"),))
        return respond(incoming)

    between(refuse)
    run = sync(vault, register(vault, onprem, authority), mailboxes=5)

    assert (run.status, [failure.code for failure in run.failures]) == (Status.PARTIAL, ["http-401"])
    assert (run.mailboxes, onprem.refused_logins) == (len(others) + 1, 0)


def test_a_server_that_closes_every_connection_it_has_let_in_is_read_all_the_same(
    vault: Vault, onprem: OnpremSimulator, authority: Authority, between: Callable[..., None]
) -> None:
    def close(incoming: Incoming, respond: Respond) -> Outgoing:
        answer = respond(incoming)
        if answer.status == 401:
            return answer
        return Outgoing(answer.status, answer.body, (*answer.headers, ("Connection", "close")))

    between(close)
    run = sync(vault, register(vault, onprem, authority), mailboxes=5)

    assert (run.status, run.failures, onprem.refused_logins) == (Status.OK, [], 0)


SHOWN = {
    "nothing": lambda incoming, respond: Outgoing(405),
    "a page to everybody": lambda incoming, respond: Outgoing(200, b"<html></html>"),
    "a fault": lambda incoming, respond: respond(incoming) if not proves(incoming) else Outgoing(500),
    "a book": lambda incoming, respond: respond(incoming) if not proves(incoming) else Outgoing(200, b"x" * 3_000_000),
}


@WAYS
@pytest.mark.parametrize("shown", SHOWN)
def test_whatever_a_server_shows_to_who_asks_for_nothing_it_is_signed_in_to(
    request: pytest.FixtureRequest, vault: Vault, onprem: OnpremSimulator, auth: str, shown: str
) -> None:
    def look(incoming: Incoming, respond: Respond) -> Outgoing:
        return SHOWN[shown](incoming, respond) if incoming.method == "GET" else respond(incoming)

    request.getfixturevalue("between")(look)
    tenant = register(vault, onprem, request.getfixturevalue("authority"), auth=auth)
    run = sync(vault, tenant, mailboxes=5)

    assert (run.status, run.failures, onprem.refused_logins) == (Status.OK, [], 0)


@WAYS
@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_that_hides_refusals_locks_nobody_out(
    request: pytest.FixtureRequest, vault: Vault, onprem: OnpremSimulator, auth: str, status: int
) -> None:
    def hide(incoming: Incoming, respond: Respond) -> Outgoing:
        before = onprem.refused_logins
        answer = respond(incoming)
        return answer if onprem.refused_logins == before else Outgoing(status, b"<html>Bad gateway</html>")

    request.getfixturevalue("between")(hide)
    tenant = register(vault, onprem, request.getfixturevalue("authority"), auth=auth, password="wrong")
    run = sync(vault, tenant, mailboxes=5)

    assert run.status == Status.FAILED
    assert onprem.refused_logins < onprem.accounts.lock_after
    assert not onprem.accounts.locked
