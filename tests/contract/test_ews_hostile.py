"""Answers made to do harm: the mailbox fails with a code and advice, soon, and within little memory; others go on."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.ews.wire.operations import MESSAGES, TYPES
from tests.conftest import Authority
from tests.simulators.company.cast import ANNA, JURGEN
from tests.simulators.onprem.mailboxes import primary_address
from tests.simulators.onprem.server import OnpremSimulator
from tests.simulators.onprem.transport import Incoming, Outgoing

pytestmark = pytest.mark.slow

MEBIBYTE = 1024 * 1024
LARGE = 66 * MEBIBYTE
HEAD = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">'
    f'<s:Body xmlns:m="{MESSAGES}" xmlns:t="{TYPES}"><m:GetFolderResponse><m:ResponseMessages>'
    '<m:GetFolderResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode><m:Folders>'
).encode()
TAIL = b"</m:Folders></m:GetFolderResponseMessage></m:ResponseMessages></m:GetFolderResponse></s:Body></s:Envelope>"
XML = ("Content-Type", "application/xml; charset=utf-8")
BOMB = '<!DOCTYPE s:Envelope [<!ENTITY a "ha">{}]>'.format(
    "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
)


def repeated(piece: bytes, size: int = LARGE) -> bytes:
    return piece * (size // len(piece))


def around(content: bytes) -> bytes:
    return HEAD + content + TAIL


ANSWERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "text": (lambda: around(repeated(b"x")), "answer-too-large"),
    "text beyond ascii": (lambda: around(repeated("🦉".encode())), "answer-too-large"),
    "elements": (lambda: around(repeated(b"<a/>")), "answer-too-large"),
    "elements and texts": (lambda: around(repeated(b"<a>x</a>y")), "answer-too-large"),
    "elements in each other": (lambda: HEAD + repeated(b"<a>"), "malformed-answer"),
    "attributes": (
        lambda: around(b"<a " + b" ".join(b'a%d=""' % n for n in range(5_000_000)) + b"/>"),
        "answer-too-large",
    ),
    "attributes of several": (
        lambda: around(repeated(b"<a " + b" ".join(b'a%d="x"' % n for n in range(80_000)) + b"/>")),
        "answer-too-large",
    ),
    "an attribute": (lambda: around(b'<a a="' + repeated(b"x") + b'"/>'), "answer-too-large"),
    "a name": (lambda: around(b"<" + repeated(b"x") + b"/>"), "answer-too-large"),
    "a comment": (lambda: around(b"<!--" + repeated(b"x") + b"-->"), "answer-too-large"),
    "a comment of tags": (lambda: around(b"<!--" + repeated(b"x" * 5_000 + b">") + b"-->"), "answer-too-large"),
    "raw text": (lambda: around(b"<![CDATA[" + repeated(b"x") + b"]]>"), "answer-too-large"),
    "white space before": (lambda: repeated(b" ") + around(b""), "not-soap"),
    "references": (lambda: around(repeated(b"&#65;")), "answer-too-large"),
    "bad characters": (lambda: around(b"\x01" + repeated("🦉".encode())), "answer-too-large"),
    "entities": (lambda: BOMB.encode() + around(b"&j;"), "document-type"),
    "an external entity": (
        lambda: b'<!DOCTYPE s:Envelope [<!ENTITY a SYSTEM "file:///etc/hostname">]>' + around(b"&a;"),
        "document-type",
    ),
    "an unknown entity": (lambda: around(b"&a;"), "malformed-answer"),
    "utf-16": (lambda: around(b"").decode().encode("utf-16"), "not-soap"),
    "malformed": (lambda: around(b"<a></b>"), "malformed-answer"),
    "half a document": (lambda: HEAD, "truncated"),
    "nothing": (lambda: b"", "truncated"),
}


@pytest.fixture
def pull(onprem: OnpremSimulator, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Pulls two mailboxes elsewhere; a stranger answers requests for the second one, where it has an answer."""
    good, hostile = (primary_address(onprem.company.people[person]) for person in (ANNA, JURGEN))
    respond = onprem.respond

    def pulled(stranger: Callable[[Incoming], Outgoing | None], at_once: int = 1) -> Any:
        def answer(incoming: Incoming) -> Outgoing:
            is_for = (incoming.headers.get("X-AnchorMailbox") or "").lower() == hostile.lower()
            return (stranger(incoming) if is_for else None) or respond(incoming)

        monkeypatch.setattr(onprem, "respond", answer)
        given = {
            "url": onprem.url,
            "username": onprem.username,
            "password": onprem.password,
            "ca_pem": authority.ca_pem,
            "addresses": [good, hostile],
            "at_once": at_once,
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.contract.hostile_pull"],
            cwd=Path(__file__).parents[2],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert not done.stderr, done.stderr[-2_000:]
        return json.loads(done.stdout)

    return pulled


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_hostile_answer_costs_its_mailbox_little_time_and_memory(pull: Callable[..., Any], kind: str) -> None:
    make, code = ANSWERS[kind]
    body = make()

    packed = gzip.compress(body, compresslevel=1) if len(body) > MEBIBYTE else b""  # so that its length is not known
    headers = (XML, ("Content-Encoding", "gzip")) if packed else (XML,)

    outcome = pull(lambda incoming: Outgoing(200, packed or body, headers))

    assert outcome["code"] == code
    assert outcome["seconds"] < 15
    assert outcome["mebibytes"] <= 100


def test_large_answers_at_the_same_time_do_not_add_up(pull: Callable[..., Any]) -> None:
    answer = Outgoing(200, gzip.compress(ANSWERS["text"][0](), compresslevel=1), (XML, ("Content-Encoding", "gzip")))

    outcome = pull(lambda incoming: answer, at_once=4)

    assert outcome["code"] == "answer-too-large"
    assert outcome["seconds"] < 15
    assert outcome["mebibytes"] <= 100


def test_a_small_answer_that_unpacks_to_a_large_one_does_too(pull: Callable[..., Any]) -> None:
    body = gzip.compress(around(repeated(b"x", 256 * MEBIBYTE)))

    outcome = pull(lambda incoming: Outgoing(200, body, (XML, ("Content-Encoding", "gzip"))))

    assert outcome["code"] == "answer-too-large"
    assert outcome["seconds"] < 15
    assert outcome["mebibytes"] <= 100


@pytest.mark.parametrize("end", ["", "drip"])
def test_nobody_reads_what_a_redirect_has_to_say(pull: Callable[..., Any], end: str) -> None:
    body = gzip.compress(repeated(b"x", 256 * MEBIBYTE))
    headers = (("Content-Encoding", "gzip"), ("Location", "https://elsewhere.example/"))

    outcome = pull(lambda incoming: Outgoing(302, body, headers, end))

    assert outcome["code"] == "http-302"
    assert outcome["seconds"] < 15
    assert outcome["mebibytes"] <= 100


def test_a_page_that_is_large_and_right_is_read(pull: Callable[..., Any], onprem: OnpremSimulator) -> None:
    respond = onprem.respond

    def pad(incoming: Incoming) -> Outgoing | None:
        answer = respond(incoming)
        if b"SyncFolderItems" not in incoming.body or answer.status != 200:
            return answer
        return Outgoing(200, answer.body.replace(b"<m:Changes", repeated(b"\n", 60 * MEBIBYTE) + b"<m:Changes"), (XML,))

    assert pull(pad)["code"] == "read"


@pytest.mark.parametrize("more", [(), (("Connection", "close"),)], ids=["kept", "last"])
@pytest.mark.parametrize("end", ["stall", "drip"])
def test_an_answer_that_hardly_goes_on_holds_its_mailbox_up_for_moments(
    pull: Callable[..., Any], onprem: OnpremSimulator, end: str, more: tuple[tuple[str, str], ...]
) -> None:
    respond = onprem.respond

    def slow(incoming: Incoming) -> Outgoing:
        answer = respond(incoming)
        return Outgoing(200, answer.body, answer.headers + more, end) if answer.status == 200 else answer

    outcome = pull(slow)

    assert outcome["code"] == "answer-stalled"
    assert outcome["seconds"] < 15


def test_a_refusal_that_hardly_goes_on_holds_nobody_up_either(pull: Callable[..., Any]) -> None:
    outcome = pull(lambda incoming: Outgoing(401, repeated(b"x", MEBIBYTE), (("WWW-Authenticate", "NTLM"),), "drip"))

    assert outcome["code"] == "answer-stalled"
    assert outcome["seconds"] < 15
