"""Servers are trusted by the system's authorities and those named, never by what an environment says."""

from __future__ import annotations

import ssl
from pathlib import Path
from types import SimpleNamespace

import certifi
import pytest
import trustme

from connectors.trust import TrustAdapter, tls_context


def authorities(context: ssl.SSLContext) -> set[bytes]:
    return set(context.get_ca_certs(binary_form=True))


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A machine without any authorities, until a test puts some there."""
    places = SimpleNamespace(openssl_cafile=str(tmp_path / "cert.pem"), openssl_capath=str(tmp_path / "certs"))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: places)
    return places


def test_a_context_verifies_and_knows_no_old_protocol() -> None:
    context = tls_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_named_authorities_come_beside_the_systems() -> None:
    named = trustme.CA().cert_pem.bytes().decode()
    assert len(authorities(tls_context(named)) - authorities(tls_context())) == 1


def test_a_machine_without_authorities_gets_those_of_the_browsers(system: SimpleNamespace) -> None:
    known = ssl.create_default_context(cafile=certifi.where())
    assert authorities(tls_context()) == authorities(known)


def test_a_machines_own_authorities_are_the_only_ones(system: SimpleNamespace) -> None:
    trustme.CA().cert_pem.write_to_path(system.openssl_cafile)
    assert len(authorities(tls_context())) == 1


def test_the_transport_verifies_whatever_it_is_told() -> None:
    adapter, connection = TrustAdapter(tls_context()), SimpleNamespace()
    adapter.cert_verify(connection, "https://mail.example.com", verify=False, cert=None)
    assert connection.cert_reqs == "CERT_REQUIRED"
