"""Credentials out of files: certificates into the one form that is kept, and workloads' tokens, which never are."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from connectors.graph.settings import ClientCertificate
from connectors.port import Unreachable
from connectors.throttle import utc_now

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate

_PEM_KEY: Final = re.compile(rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.+?-----END \1PRIVATE KEY-----", re.DOTALL)
_PEM_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_JWT: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_TOKEN_LIMIT: Final = 64 * 1024
_SEQUENCE: Final = 0x30  # the first byte of every DER structure that a PFX can be


class CertificateError(ValueError):
    """The file cannot serve as a credential; the message is one sentence for an administrator."""


class WrongPasswordError(CertificateError):
    """The password does not open the file, or one is needed and none was given."""


class NotACertificateError(CertificateError):
    """The file is not a private key with its certificate."""


class OutOfDateError(CertificateError):
    """The certificate has ended, or does not count yet."""


class KeyMismatchError(CertificateError):
    """The private key belongs to none of the certificates in the file."""


def load_certificate(data: bytes, password: bytes | None = None, *, now: datetime | None = None) -> ClientCertificate:
    """Reads a PFX (PKCS 12), or a PEM file that holds an RSA key and its certificate.

    Args:
        data: The content of the file.
        password: What opens it; None if nothing is needed.
        now: The time the certificate must be valid at; the present unless given.

    Raises:
        CertificateError: One of its four kinds says what is wrong.
    """
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - 20 ms that --help does without
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415 - the same

    key, certificates = _read_pem(data, password) if b"-----BEGIN " in data else _read_pfx(data, password)
    if not isinstance(key, RSAPrivateKey):
        raise NotACertificateError("The private key is no RSA key; Entra takes only RSA for applications.")
    if not certificates:
        raise NotACertificateError("The file holds a private key but no certificate.")
    own = next((entry for entry in certificates if entry.public_key() == key.public_key()), None)
    if own is None:
        raise KeyMismatchError("The private key does not belong to the certificate.")
    _check_dates(own, now or utc_now())
    chain = [own, *(entry for entry in certificates if entry != own)]
    return ClientCertificate(
        private_key_pem=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        certificate_pem=b"".join(entry.public_bytes(serialization.Encoding.PEM) for entry in chain),
        not_after=own.not_valid_after_utc,
        thumbprint=own.fingerprint(hashes.SHA1()).hex().upper(),  # noqa: S303 - a name that Entra shows, not a safeguard
    )


def read_federated_token(file: str) -> str:
    """The token that the platform has put into a file.

    Raises:
        Unreachable: There is none now. The platform may put one there later, so nobody refused anything.
    """
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(_TOKEN_LIMIT + 1)
    except OSError as error:
        raise _no_token(f"cannot be read ({error.strerror})") from None
    text = content.decode("ascii", "replace").strip()
    if not _JWT.fullmatch(text) or len(content) > _TOKEN_LIMIT:
        raise _no_token("holds no token")
    return text


def _no_token(why: str) -> Unreachable:
    return Unreachable(
        f"The federated token's file {why}.",
        code="federated-token",
        advice="Check that the platform writes it where `syncvault credential show TENANT` says, readable here.",
    )


def _read_pfx(data: bytes, password: bytes | None) -> tuple[PrivateKeyTypes | None, list[Certificate]]:
    from cryptography.hazmat.primitives.serialization import pkcs12  # noqa: PLC0415 - the same

    if not data or data[0] != _SEQUENCE:
        raise NotACertificateError("The file is neither a PFX nor a PEM file.")
    try:
        key, own, others = pkcs12.load_key_and_certificates(data, password)
    except ValueError as error:
        if "password" in str(error).lower():
            raise _wrong_password(password) from None
        raise NotACertificateError("The file is not a PFX that can be read.") from None
    except TypeError:
        raise _wrong_password(password) from None
    if key is None:
        raise NotACertificateError("The file holds no private key.")
    return key, [own, *others] if own else list(others)


def _read_pem(data: bytes, password: bytes | None) -> tuple[PrivateKeyTypes, list[Certificate]]:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - the same
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415 - the same

    block = _PEM_KEY.search(data)
    if block is None:
        raise NotACertificateError("The file holds no private key.")
    encrypted = b"ENCRYPTED" in block.group(0)
    try:
        key = load_pem_private_key(block.group(0), password if encrypted else None)
        certificates = load_pem_x509_certificates(data) if _PEM_CERTIFICATE in data else []
    except TypeError:
        raise _wrong_password(password) from None
    except ValueError:
        if encrypted:
            raise _wrong_password(password) from None
        raise NotACertificateError("The private key or the certificate cannot be read.") from None
    return key, certificates


def _check_dates(certificate: Certificate, now: datetime) -> None:
    if certificate.not_valid_after_utc <= now:
        raise OutOfDateError(f"The certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}.")
    if certificate.not_valid_before_utc > now:
        raise OutOfDateError(f"The certificate is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}.")


def _wrong_password(password: bytes | None) -> WrongPasswordError:
    if password:
        return WrongPasswordError("The password does not open the certificate file.")
    return WrongPasswordError("The certificate file needs a password: --certificate-password-file.")
