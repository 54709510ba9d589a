"""The simulator: a company's mailboxes behind an EWS URL, for tests and for trying things out by hand."""

from __future__ import annotations

import secrets
import ssl
import threading
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import trustme

from tests.simulators.company.model import Company
from tests.simulators.listening import server_context
from tests.simulators.onprem import autodiscover, photos, published, tokens
from tests.simulators.onprem.accounts import LOCK_AFTER, Accounts
from tests.simulators.onprem.faults import Faults
from tests.simulators.onprem.kerberos import Acceptor
from tests.simulators.onprem.mailboxes import Access
from tests.simulators.onprem.recorder import Recorded, Recorder
from tests.simulators.onprem.service import Outcome, Service
from tests.simulators.onprem.sign_in import SCHEMES, ConnectionSignIn, House, Verdict
from tests.simulators.onprem.soap import SoapFault, fault
from tests.simulators.onprem.state import State
from tests.simulators.onprem.transport import Application, Incoming, Outgoing, Server

PATH = "/ews/exchange.asmx"
PHOTO_PATH = "/ews/exchange.asmx/s/getuserphoto"
DOMAIN = "example.com"
_XML = ("Content-Type", "text/xml; charset=utf-8")
_METHODS = ("GET", "HEAD", "POST")
_NOBODY = "ExchangeImpersonation SOAP header must be present for this type of OAuth token."


class OnpremSimulator(Application):
    """An Exchange 2016 server on a loopback port, with one service account that may impersonate.

    Attributes:
        url: The whole EWS URL.
        username: The service account as `DOMAIN\\user`; `upn` is its other name, `user@domain`.
        password: Its password; change it with `set_password`.
        recorder: What came in and went out.
        faults: Failures on demand.
        refused_logins: How often somebody tried to sign in with a wrong name or password, here or for a token.
        accounts: Counts wrong attempts and locks the account: `failed`, `locked`, `unlock()`.
        tokens: Its token endpoint, at `token_url`; needs the scheme `Bearer`.
        autodiscover: What it says to those who look for EWS.
    """

    def __init__(
        self,
        company: Company,
        authority: trustme.CA,
        port: int = 0,
        host: str = "127.0.0.1",
        *,
        username: str = "EXAMPLE\\svc-contacts",
        password: str = "Correct-Horse-7-Battery",
        schemes: tuple[str, ...] = SCHEMES,
        require_channel_binding: bool = False,
        seed: int | None = None,
        lock_after: int = LOCK_AFTER,
        keytab: Path | None = None,
        keeps_kerberos: bool = True,
        names: tuple[str, ...] = (),
    ) -> None:
        self.company = company
        self.recorder, self.faults = Recorder(), Faults() if seed is None else Faults(seed)
        user = username.rpartition("\\")[2].partition("@")[0]
        self.username, self.upn = username, f"{user}@{DOMAIN}"
        self.refused_logins = 0
        self.accounts = Accounts(username, password, self.upn, lock_after)
        self.tokens = tokens.Tokens()
        self.autodiscover = autodiscover.Autodiscover(f"https://mail.{DOMAIN}/EWS/Exchange.asmx")
        self._own_password, self._is_other_password = password, False
        self._state = State(company, Access(company, self.upn), self.faults)
        self._service = Service(self._state, self.recorder)
        self._counting = threading.Lock()
        leaf = authority.issue_cert(*dict.fromkeys((host, "127.0.0.1", "localhost", *names)))
        certificate = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
        self._house = House(
            self.accounts,
            self.tokens,
            schemes,
            Acceptor(keytab) if keytab else None,
            certificate if require_channel_binding else None,
            keeps_kerberos,
        )
        self._server = Server((host, port), server_context(leaf), self)
        self.port = int(self._server.server_address[1])
        self.url = f"https://{host}:{self.port}/EWS/Exchange.asmx"
        self.token_url = f"https://{host}:{self.port}{tokens.PATH}"

    @property
    def password(self) -> str:
        """The service account's password."""
        return self.accounts.password

    def start(self) -> None:
        """Begins to answer."""
        self._server.start()

    def stop(self) -> None:
        """Stops listening and closes every connection."""
        self._server.stop()
        self.accounts.close()

    # -- what an administrator of the server would do ------------------------------------------------------------

    def set_password(self, password: str) -> None:
        """Changes the service account's password; everybody is signed out."""
        self._own_password = password
        self.accounts.set_password(password)

    def disable_account(self) -> None:
        """Lets the service account in no more, whatever it shows; it is signed out."""
        self.accounts.disable()

    def deny_impersonation(self, address: str) -> None:
        """Takes the mailbox with this primary address out of the account's impersonation scope."""
        self._state.access.denied.add(address.casefold())

    def grant_delegate(self, address: str) -> None:
        """Lets the account open this mailbox as a delegate, without impersonation."""
        self._state.access.granted.add(address.casefold())

    def refuse_item(self, item_id: str, code: str = "ErrorAccessDenied") -> None:
        """Answers an item or attachment with an error from now on; an empty code ends it."""
        self.faults.refuse_item(item_id, code)

    @property
    def behaviour(self) -> Access:
        """Rights as switches, for the control endpoint: `denied` and `granted`, sets of primary addresses."""
        return self._state.access

    @property
    def photo_absent_status(self) -> int:
        """The HTTP status of a GetUserPhoto operation that finds none: 404, as Exchange does, or 200."""
        return self._state.photo_absent_status

    @photo_absent_status.setter
    def photo_absent_status(self, status: int) -> None:
        self._state.photo_absent_status = status

    @property
    def shows_whole_directory(self) -> bool:
        """Whether FindPeople lists the directory without a query, which Exchange's documentation rules out."""
        return self._state.shows_whole_directory

    @shows_whole_directory.setter
    def shows_whole_directory(self, shows: bool) -> None:
        self._state.shows_whole_directory = shows

    @property
    def syncs_public_folders(self) -> bool:
        """Whether SyncFolderItems works in public folders, which Exchange's documentation does not promise."""
        return self._state.syncs_public_folders

    @syncs_public_folders.setter
    def syncs_public_folders(self, syncs: bool) -> None:
        self._state.syncs_public_folders = syncs

    # -- requests ------------------------------------------------------------------------------------------------

    def new_sign_in(self) -> ConnectionSignIn:
        """Nobody yet."""
        return ConnectionSignIn(self._house)

    def crashed(self, story: str) -> None:
        """Keeps a mistake of the simulator for tests to find."""
        self.recorder.crashes.append(story)

    def respond(self, incoming: Incoming) -> Outgoing:
        """Judges the sign-in, then serves the operation or the photo."""
        self._change_password()
        path = incoming.target.partition("?")[0].rstrip("/").casefold()
        host = incoming.headers.get("Host", "").partition(":")[0]
        if path == tokens.PATH and incoming.method == "POST":
            is_proven, outgoing = self.tokens.answer(incoming)
            self._count(refused=not is_proven)
            return outgoing
        if path == autodiscover.PATH and (said := self.autodiscover.before_sign_in(host)):
            return said
        verdict, challenges = incoming.sign_in.judge(incoming.headers.get("Authorization"))
        headers = tuple(("WWW-Authenticate", challenge) for challenge in challenges)
        if verdict is not Verdict.ACCEPTED:
            self._count(refused=verdict is Verdict.REFUSED)
            self._record(incoming, Outcome(401, b""))
            return Outgoing(401, headers=headers)
        outgoing = self._inside(incoming, path, host)
        return replace(outgoing, headers=outgoing.headers + headers) if headers else outgoing

    def _inside(self, incoming: Incoming, path: str, host: str) -> Outgoing:
        """What somebody gets who has signed in."""
        if path == autodiscover.PATH and incoming.method in {"GET", "POST"}:
            return self.autodiscover.answer(host, incoming.body)
        if path == PHOTO_PATH and incoming.method == "GET":
            return self._photo(incoming)
        if path == PATH and incoming.method == "POST":
            return self._posted(incoming)
        if incoming.method not in _METHODS:
            return Outgoing(405, headers=(("Allow", ", ".join(_METHODS)),))
        origin = f"https://{incoming.headers.get('Host', host)}"
        return published.page(origin) if path == PATH else published.document(path)

    def _posted(self, incoming: Incoming) -> Outgoing:
        """The answer to what is to be a request to the service; one that says it is something else is not read."""
        kind = incoming.headers.get("Content-Type", _XML[1])
        if kind.partition(";")[0].strip().casefold() != "text/xml":
            return Outgoing(415)
        if incoming.sign_in.is_application and b"ExchangeImpersonation" not in incoming.body:
            return Outgoing(500, fault(SoapFault("ErrorInvalidRequest", _NOBODY)), (_XML,))
        return self._operation(incoming)

    def _count(self, *, refused: bool) -> None:
        with self._counting:
            self.refused_logins += refused

    def _change_password(self) -> None:
        """Lets the password become another one, and the old one again, as the faults have it."""
        with self._counting:
            before, self._is_other_password = self._is_other_password, self.faults.has_other_password()
            if self._is_other_password != before:
                self.accounts.set_password(secrets.token_urlsafe() if self._is_other_password else self._own_password)

    def _operation(self, incoming: Incoming) -> Outgoing:
        outcome = self._service.answer(incoming.body, incoming.headers.get("If-None-Match", ""))
        self._record(incoming, outcome)
        blow = outcome.blow
        if blow.is_instead:
            return Outgoing(blow.status, blow.body, blow.headers, blow.end, blow.stream)
        if blow.absent == HTTPStatus.NOT_FOUND == outcome.status:
            return Outgoing(outcome.status)
        etag = (("ETag", outcome.etag),) if outcome.etag else ()
        return Outgoing(outcome.status, outcome.body, (_XML, *etag), blow.end)

    def _photo(self, incoming: Incoming) -> Outgoing:
        with self.company.lock:
            status, headers, body = photos.download(
                self.company, incoming.target, incoming.headers.get("If-None-Match")
            )
        self._record(incoming, Outcome(status, body, "GET GetUserPhoto"))
        return Outgoing(status, body, tuple(headers.items()))

    def _record(self, incoming: Incoming, outcome: Outcome) -> None:
        self.recorder.add(
            Recorded(
                incoming.method,
                incoming.target,
                outcome.operation,
                outcome.mailbox,
                outcome.status,
                incoming.body,
                outcome.body,
            )
        )
