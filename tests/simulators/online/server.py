"""The Exchange Online simulator as a whole: sign-in and Graph on one origin, over one company."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from tests.simulators.company.model import Company
from tests.simulators.online.blows import Blow
from tests.simulators.online.calls import Behaviour, World, json_answer
from tests.simulators.online.faults import Faults
from tests.simulators.online.links import TokenBox
from tests.simulators.online.recorder import Recorder
from tests.simulators.online.registration import CLIENT_ID, Application, key_pair, write_credentials
from tests.simulators.online.service import GraphService
from tests.simulators.online.signin import SignIn
from tests.simulators.online.tokens import TokenIssuer
from tests.simulators.serving import Answer, HttpsServer, Request

__all__ = ["OnlineSimulator"]


class OnlineSimulator:
    """Entra and Graph for one directory, with one registered application.

    Attributes:
        company: What it serves; change it while it runs.
        application: The registered app: `roles`, `secrets`, `certificates`.
        behaviour: Switches: refused mailboxes and filters, limits, latency, placeholder photos.
        faults: What goes wrong next, or at a rate; with a `seed` the same in every run.
        recorder: What was asked and answered.
        refused_logins: How often Entra said no.
        files: The credentials as files, see `CredentialFiles`.
    """

    def __init__(
        self,
        company: Company,
        authority: trustme.CA,
        port: int = 0,
        host: str = "127.0.0.1",
        *,
        directory: Path | None = None,
        record: int = 10_000,
        seed: int | None = None,
    ) -> None:
        self.company = company
        self.directory_id = company.directory_id
        self.client_id = CLIENT_ID
        self.client_secret = secrets.token_urlsafe(30)
        self.expired_secret = secrets.token_urlsafe(30)
        self._own_directory = None if directory else Path(tempfile.mkdtemp(prefix="exchange-online-"))
        pair = key_pair("syncvault test app")
        self.files = write_credentials(directory or self._own_directory or Path(), pair, self.client_secret)
        now = datetime.now(UTC)
        self.application = Application(
            CLIENT_ID,
            {self.client_secret: now + timedelta(days=180), self.expired_secret: now - timedelta(days=1)},
            [pair.certificate],
        )
        self.issuer = TokenIssuer(company.directory_id)
        self.recorder = Recorder(record)
        self.faults = Faults() if seed is None else Faults(seed)
        self.world = World(company, TokenBox(seed))
        self.refused_logins = 0
        self._sign_in = SignIn(company.directory_id, [self.application], self.issuer)
        self._graph = GraphService(self.world, self.issuer, self.faults, self.recorder)
        self._server = HttpsServer(self._respond, authority, port, host)

    @property
    def origin(self) -> str:
        """Scheme, host and port of both the authority and Graph."""
        return self._server.origin

    @property
    def behaviour(self) -> Behaviour:
        """The switches."""
        return self.world.behaviour

    def expire_delta_tokens(self) -> None:
        """Forgets every page and delta token handed out so far: 410 from now on."""
        self.world.tokens.expire_all()

    def expire_access_tokens(self) -> None:
        """Lets every bearer run out: 401 from now on, until the client signs in again."""
        self.issuer.expire_tokens()

    def start(self) -> OnlineSimulator:
        """Begins to answer."""
        self._server.start()
        return self

    def stop(self) -> None:
        """Stops, and removes the credential files if they were temporary."""
        self._server.stop()
        if self._own_directory:
            shutil.rmtree(self._own_directory, ignore_errors=True)

    def _respond(self, request: Request) -> Answer:
        if request.path.startswith(("/v1.0", "/beta")):
            return self._graph.answer(request)
        self.recorder.count("sign_in")
        blow = self.faults.take(request) or Blow()
        if blow.error:
            return json_answer({"error": "temporarily_unavailable"}, blow.error.status, blow.error.headers)
        answer = blow.answer or self._signed_in(request)
        return blow.change(request, answer) if blow.change else answer

    def _signed_in(self, request: Request) -> Answer:
        answer = self._sign_in.answer(request)
        if answer and answer.status >= 400:
            self.refused_logins += 1
        return answer or Answer(404, {"Content-Type": "text/html"}, b"<html><body>Not found</body></html>")
