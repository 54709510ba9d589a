"""Certificate files as administrators have them, and what is wrong with them, told apart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption, pkcs12
from cryptography.x509.oid import NameOID

from connectors.graph import CertificateError, ClientCertificate, ClientSecret, GraphSettings, load_certificate
from connectors.graph.settings import https_origin
from connectors.graph.sign_in.credentials import (
    KeyMismatchError,
    NotACertificateError,
    OutOfDateError,
    WrongPasswordError,
)

NOW = datetime(2027, 1, 1, tzinfo=UTC)
KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
OTHER = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


def certificate(key: rsa.RSAPrivateKey = KEY, *, begins: int = -10, ends: int = 10) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "syncvault")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(NOW + timedelta(days=begins))
    return builder.not_valid_after(NOW + timedelta(days=ends)).sign(key, hashes.SHA256())


def pfx(password: bytes | None = b"open sesame", own: x509.Certificate | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return pkcs12.serialize_key_and_certificates(b"app", KEY, own or certificate(), [certificate(OTHER)], encryption)


def key_pem(password: bytes = b"", key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = KEY) -> bytes:
    return key.private_bytes(PEM, PKCS8, BestAvailableEncryption(password) if password else NoEncryption())


def certificate_pem(key: rsa.RSAPrivateKey = KEY) -> bytes:
    return certificate(key).public_bytes(PEM)


@pytest.mark.parametrize(
    ("data", "password"),
    [
        (pfx(), b"open sesame"),
        (pfx(None), None),
        (key_pem() + certificate_pem(), None),
        (key_pem() + certificate_pem(), b"not needed"),
        (b"Bag Attributes\n" + certificate_pem(OTHER) + certificate_pem() + key_pem(b"pw"), b"pw"),
    ],
    ids=["pfx", "pfx without password", "pem", "pem with a needless password", "encrypted pem with a chain"],
)
def test_every_form_becomes_the_same_credential(data: bytes, password: bytes | None) -> None:
    loaded = load_certificate(data, password, now=NOW)
    assert loaded.private_key_pem == key_pem()
    assert loaded.certificate_pem.startswith(certificate_pem())
    assert loaded.not_after == NOW + timedelta(days=10)
    assert loaded.thumbprint == certificate().fingerprint(hashes.SHA1()).hex().upper()


@pytest.mark.parametrize(
    ("data", "password", "error"),
    [
        (pfx(), b"wrong", WrongPasswordError),
        (pfx(), None, WrongPasswordError),
        (key_pem(b"pw") + certificate_pem(), b"wrong", WrongPasswordError),
        (key_pem(b"pw") + certificate_pem(), None, WrongPasswordError),
        (b"", None, NotACertificateError),
        (b"just text", None, NotACertificateError),
        (b"\x30\x82\x00\x10garbage", b"pw", NotACertificateError),
        (certificate_pem(), None, NotACertificateError),
        (key_pem(), None, NotACertificateError),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", None, NotACertificateError),
        (key_pem(key=ec.generate_private_key(ec.SECP256R1())) + certificate_pem(), None, NotACertificateError),
        (key_pem() + certificate_pem(OTHER), None, KeyMismatchError),
        (pfx(own=certificate(ends=-1)), b"open sesame", OutOfDateError),
        (pfx(own=certificate(begins=1)), b"open sesame", OutOfDateError),
    ],
)
def test_what_is_wrong_with_a_file_is_told_apart(
    data: bytes, password: bytes | None, error: type[CertificateError]
) -> None:
    with pytest.raises(error) as caught:
        load_certificate(data, password, now=NOW)
    assert type(caught.value) is error
    assert str(caught.value).endswith((".", "file"))


def test_no_repr_shows_a_secret() -> None:
    loaded = load_certificate(pfx(), b"open sesame", now=NOW)
    shown = repr(GraphSettings("d", "c", loaded)) + repr(GraphSettings("d", "c", ClientSecret(b"hush")))
    assert "PRIVATE" not in shown
    assert "hush" not in shown
    assert isinstance(loaded, ClientCertificate)


@pytest.mark.parametrize(
    "url",
    [
        "http://graph.microsoft.com",
        "https://graph.microsoft.com/v1.0",
        "https://user@graph.microsoft.com",
        "https://graph.microsoft.com?x=1",
        "https://",
        "graph.microsoft.com",
    ],
)
def test_an_origin_is_https_and_nothing_more(url: str) -> None:
    with pytest.raises(ValueError, match="not an origin"):
        https_origin(url)


@pytest.mark.parametrize(
    ("cloud", "authority", "graph"),
    [
        ("global", "https://login.microsoftonline.com", "https://graph.microsoft.com"),
        ("us-gov", "https://login.microsoftonline.us", "https://graph.microsoft.us"),
        ("us-dod", "https://login.microsoftonline.us", "https://dod-graph.microsoft.us"),
        ("china", "https://login.partner.microsoftonline.cn", "https://microsoftgraph.chinacloudapi.cn"),
    ],
)
def test_every_cloud_has_its_own_origins(cloud: str, authority: str, graph: str) -> None:
    settings = GraphSettings("d", "c", ClientSecret(b"s"), cloud)
    assert (settings.authority_origin(), settings.graph_origin()) == (authority, graph)


def test_overrides_beat_the_cloud() -> None:
    settings = GraphSettings(
        "d", "c", ClientSecret(b"s"), authority="https://a.example:1/", graph_url="https://G.example"
    )
    assert (settings.authority_origin(), settings.graph_origin()) == ("https://a.example:1", "https://g.example")
