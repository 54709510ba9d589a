"""The one door for proofs: what is known of the verdicts before decides whether another leaves."""

from __future__ import annotations

import pytest
from requests import PreparedRequest, Response, exceptions

from connectors.ews.guard import Guard
from connectors.port import CredentialRejected, Unreachable

PROOF = PreparedRequest()
PROOF.prepare("GET", "https://mail.example.com/", headers={"Authorization": "NTLM TlRMTVNTUAADfilling"})


@pytest.fixture
def guard() -> Guard:
    return Guard(lambda: CredentialRejected("No."))


def lost() -> Response:
    raise exceptions.ConnectionError


def answered() -> Response:
    response = Response()
    response.status_code = 200
    return response


def lose_one(guard: Guard) -> None:
    with pytest.raises(exceptions.ConnectionError):
        guard.let_out(PROOF, lost)


def test_one_lost_verdict_ends_who_was_never_let_in(guard: Guard) -> None:
    lose_one(guard)
    with pytest.raises(Unreachable):
        guard.check()


def test_two_lost_verdicts_end_who_was_let_in_whatever_others_are_answered_meanwhile(guard: Guard) -> None:
    guard.accept()
    lose_one(guard)
    guard.check()
    guard.accept()  # an answer on a connection that was let in before
    lose_one(guard)
    with pytest.raises(Unreachable):
        guard.check()


def test_a_verdict_between_them_ends_the_doubt(guard: Guard) -> None:
    guard.accept()
    lose_one(guard)
    guard.let_out(PROOF, answered)
    lose_one(guard)
    guard.check()
