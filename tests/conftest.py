"""Fixtures that every suite shares: a certificate authority, a fresh company, and the simulators over it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
import trustme

from tests.simulators.company.cast import small_company
from tests.simulators.company.model import Company
from tests.simulators.online.server import OnlineSimulator

if TYPE_CHECKING:
    from exchangelib import Account

    from tests.ews_clients import Soap
    from tests.simulators.onprem.server import OnpremSimulator

for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
    os.environ.pop(name, None)  # the machine's own must not stand between the tests and their servers


@pytest.fixture(autouse=True)
def usual_umask() -> None:
    """The one that people have: the command line, run in this process, leaves it closed for the next test."""
    os.umask(0o022)


@dataclass(frozen=True)
class Authority:
    """The authority that signs the simulators' certificates; `ca_pem` is what clients trust."""

    ca: trustme.CA
    ca_file: Path
    ca_pem: str


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    ca = trustme.CA()
    ca_file = tmp_path_factory.mktemp("authority") / "ca.pem"
    ca.cert_pem.write_to_path(str(ca_file))
    return Authority(ca, ca_file, ca_file.read_text())


@pytest.fixture
def company() -> Company:
    return small_company()


@pytest.fixture
def online(company: Company, authority: Authority) -> Iterator[OnlineSimulator]:
    simulator = OnlineSimulator(company, authority.ca)
    simulator.start()
    yield simulator
    simulator.stop()


@pytest.fixture
def onprem(company: Company, authority: Authority) -> Iterator[OnpremSimulator]:
    server = pytest.importorskip("tests.simulators.onprem.server")
    simulator = server.OnpremSimulator(company, authority.ca)
    simulator.start()
    yield simulator
    simulator.stop()
    assert simulator.recorder.crashes == []
    assert simulator.recorder.violations == []


@pytest.fixture
def soap(onprem: OnpremSimulator, authority: Authority) -> Iterator[Soap]:
    """Bare SOAP requests to the EWS simulator."""
    from tests.ews_clients import Soap

    bare = Soap(onprem, authority.ca_pem)
    yield bare
    bare.close()


@pytest.fixture
def opened(onprem: OnpremSimulator, authority: Authority) -> Callable[..., AbstractContextManager[Account]]:
    """Opens a mailbox of the EWS simulator with exchangelib, as `tests.ews_clients.opened_account` does."""
    from tests.ews_clients import opened_account

    return partial(opened_account, onprem, authority.ca_pem)


@pytest.fixture
def anna(opened: Callable[..., AbstractContextManager[Account]]) -> Iterator[Account]:
    """Anna's mailbox in exchangelib, by NTLM and impersonation."""
    with opened() as account:
        yield account


@pytest.fixture(scope="session")
def contracts() -> Path:
    """The folder of published contracts, named by SYNCVAULT_CONTRACTS."""
    named = os.environ.get("SYNCVAULT_CONTRACTS")
    if not named:
        pytest.skip("SYNCVAULT_CONTRACTS is not set")
    return Path(named)


@pytest.fixture
def plain(authority: Authority) -> Iterator[requests.Session]:
    """A plain HTTP session that trusts the simulators."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(authority.ca_file)
        yield session


@pytest.fixture
def graph_session(online: OnlineSimulator, plain: requests.Session) -> Iterator[requests.Session]:
    """Another one that carries a bearer for Graph."""
    form = {
        "grant_type": "client_credentials",
        "client_id": online.client_id,
        "client_secret": online.client_secret,
        "scope": f"{online.origin}/.default",
    }
    answer = plain.post(f"{online.origin}/{online.directory_id}/oauth2/v2.0/token", data=form)
    with requests.Session() as session:
        session.trust_env = False
        session.verify = plain.verify
        session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        yield session
