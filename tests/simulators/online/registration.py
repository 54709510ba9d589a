"""The application registered in the simulated directory: its secret, its certificate and the files that hold them."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

CLIENT_ID = "0f9a3b52-7c1e-4d7d-9a51-3f1d2c4b6e70"
ALL_ROLES = ("User.Read.All", "GroupMember.Read.All", "Contacts.Read", "Organization.Read.All", "OrgContact.Read.All")


@dataclass(frozen=True, slots=True)
class Trust:
    """A federated credential: whose tokens an application takes for its own assertion, and the issuer's public key."""

    issuer: str
    subject: str
    key: rsa.RSAPublicKey = field(repr=False)
    audience: str = "api://AzureADTokenExchange"


@dataclass(slots=True)
class Application:
    """An app registration; `secrets_` maps each client secret to when it ends."""

    client_id: str
    secrets: dict[str, datetime] = field(default_factory=dict, repr=False)
    certificates: list[x509.Certificate] = field(default_factory=list)
    trusts: list[Trust] = field(default_factory=list)
    roles: tuple[str, ...] = ALL_ROLES

    def certificate_by_thumbprint(self, thumbprint: bytes) -> x509.Certificate | None:
        """The registered certificate with this SHA-1 or SHA-256 thumbprint."""
        algorithm = {20: hashes.SHA1, 32: hashes.SHA256}.get(len(thumbprint))
        if algorithm is None:
            return None
        return next((c for c in self.certificates if c.fingerprint(algorithm()) == thumbprint), None)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A private key with its self-signed certificate."""

    key: rsa.RSAPrivateKey = field(repr=False)
    certificate: x509.Certificate

    @property
    def thumbprint(self) -> str:
        """SHA-1 over the certificate, as the portal shows it."""
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        return hashlib.sha1(der).hexdigest().upper()

    def key_pem(self) -> bytes:
        """The private key, PKCS#8, unencrypted."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def certificate_pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def pfx(self, password: str) -> bytes:
        """Both, as PKCS#12."""
        encryption = serialization.BestAvailableEncryption(password.encode())
        return pkcs12.serialize_key_and_certificates(b"app", self.key, self.certificate, None, encryption)


@lru_cache
def key_pair(name: str, *, days: int = 365) -> KeyPair:
    """A key pair with a certificate that is valid from a day ago for `days`; the same one for a name."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - timedelta(days=max(0, -days)))
        .not_valid_after(begin + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return KeyPair(key, certificate)


@dataclass(frozen=True, slots=True)
class CredentialFiles:
    """What an administrator would hold, each file 0600."""

    certificate_pem: Path  # private key and certificate
    certificate_pfx: Path
    certificate_pfx_password_file: Path
    client_secret_file: Path


def write_credentials(directory: Path, pair: KeyPair, client_secret: str) -> CredentialFiles:
    """Writes the credentials of an application to files."""
    password = secrets.token_urlsafe(12)
    files = CredentialFiles(
        directory / "app.pem", directory / "app.pfx", directory / "app.pfx.password", directory / "client.secret"
    )
    write_private(files.certificate_pem, pair.key_pem() + pair.certificate_pem())
    write_private(files.certificate_pfx, pair.pfx(password))
    write_private(files.certificate_pfx_password_file, password.encode())
    write_private(files.client_secret_file, client_secret.encode())
    return files


def write_private(path: Path, content: bytes) -> None:
    """Writes a file that only its owner may read."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_bytes(content)
