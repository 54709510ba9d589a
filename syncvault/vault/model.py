"""What the vault keeps of a tenant, as values; each knows the plain JSON form in which it is sealed."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

from syncvault.policy.catalogue import RULE_VERSION
from syncvault.policy.subscription import Subscription, SubscriptionKind
from syncvault.secret import Secret


class TenantKind(StrEnum):
    """Where the tenant's Exchange is."""

    ONLINE = "online"
    ONPREM = "onprem"


@dataclass(frozen=True, slots=True)
class OnlineConnection:
    """How to reach a tenant of Exchange Online; empty overrides mean the cloud's own hosts.

    `uses_proxy` tells whether requests go through the proxy that the environment names.
    """

    directory_id: str
    client_id: str
    cloud: str = "global"
    authority: str = ""
    graph_url: str = ""
    ca_pem: str = field(default="", repr=False)
    uses_proxy: bool = True


@dataclass(frozen=True, slots=True)
class OnpremConnection:
    """How to reach a tenant's own Exchange, and how its service account signs in.

    `auth` is `ntlm`, `basic`, `kerberos` or `oauth`; what begins with `token` and the client ID are for `oauth` alone.
    """

    ews_url: str
    username: str = field(repr=False)
    auth: str = "ntlm"
    ca_pem: str = field(default="", repr=False)
    token_url: str = ""
    client_id: str = ""
    token_scope: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is pulled of a tenant's mailboxes.

    Attributes:
        profile: `business`, `full`, or names of fields joined by commas.
        folders: Patterns of contact folders; one that begins with `!` excludes.
        photo_pixels: The longer edge of people's photos.
        private: Whether items that their owner marked private are pulled too.
        applied: What runs have brought the stored contacts to, in the sync engine's own words; empty before one ended.
    """

    profile: str = "business"
    folders: tuple[str, ...] = ()
    photo_pixels: int = 240
    private: bool = False
    applied: str = ""


@dataclass(frozen=True, slots=True)
class TenantProfile:
    """The facts about a tenant. Purge dates follow from `subscription` and `rule_version`, never from tags."""

    name: str
    connection: OnlineConnection | OnpremConnection
    subscription: Subscription
    admin_mail: str = field(repr=False)
    billing_mail: str = field(default="", repr=False)
    customer_number: str = field(default="", repr=False)
    locale: str = "en"
    scope: Scope = field(default_factory=Scope)
    rule_version: int = RULE_VERSION

    @property
    def kind(self) -> TenantKind:
        """Online or on-premises."""
        return TenantKind.ONLINE if isinstance(self.connection, OnlineConnection) else TenantKind.ONPREM

    def with_subscription(self, subscription: Subscription) -> TenantProfile:
        """The same tenant under another contract."""
        return replace(self, subscription=subscription)

    def to_dict(self) -> dict[str, Any]:
        """The plain form that is sealed."""
        plain = asdict(self)
        plain["kind"] = str(self.kind)
        plain["subscription"]["ends_on"] = self.subscription.ends_on.isoformat()
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> TenantProfile:
        """The inverse of `to_dict`."""
        values = dict(plain)
        connection = OnlineConnection if TenantKind(values.pop("kind")) is TenantKind.ONLINE else OnpremConnection
        if "scope" in values:  # facts that were sealed before there was one have none
            values["scope"] = Scope(**{**values["scope"], "folders": tuple(values["scope"]["folders"])})
        facts = values["subscription"]
        values["connection"] = connection(**values["connection"])
        values["subscription"] = Subscription(
            **{
                **facts,
                "kind": SubscriptionKind(facts["kind"]),
                "ends_on": date.fromisoformat(facts["ends_on"]),
            }
        )
        return cls(**values)


class CredentialKind(StrEnum):
    """What opens a tenant's Exchange."""

    CERTIFICATE = "certificate"
    SECRET = "secret"  # noqa: S105  (the name of a kind)
    PASSWORD = "password"  # noqa: S105  (the name of a kind)
    KEYTAB = "keytab"
    TICKET_CACHE = "ccache"
    MANAGED_IDENTITY = "managed-identity"
    WORKLOAD_IDENTITY = "workload-identity"


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential: the secret itself (password, client secret, private key, keytab) and what may be shown of it.

    Attributes:
        kind: What it is.
        secret: The secret; empty for identities and ticket caches, which have none that could be kept.
        certificate_pem: The certificate (chain) that goes with a private key.
        thumbprint: SHA-1 of the certificate in hex, as Entra shows it; to tell certificates apart, not to trust.
        expires_at: When it ends, where that is known.
        identity_client_id: Which managed identity; empty for the machine's own.
        token_file: Where the platform puts the token of a workload identity.
        ticket_cache: The file in which something else keeps a service account's Kerberos tickets fresh.
        id: Of the row that holds it; empty until it is stored.
    """

    kind: CredentialKind
    secret: Secret
    certificate_pem: str = field(default="", repr=False)
    thumbprint: str = ""
    expires_at: datetime | None = None
    identity_client_id: str = ""
    token_file: str = ""
    ticket_cache: str = ""
    id: bytes = b""

    def to_dict(self) -> dict[str, Any]:
        """The plain form that is padded and sealed."""
        return {
            "kind": str(self.kind),
            "secret": _as_text(self.kind, self.secret),
            "certificate_pem": self.certificate_pem,
            "thumbprint": self.thumbprint,
            "expires_at": int(self.expires_at.timestamp()) if self.expires_at else None,
            "identity_client_id": self.identity_client_id,
            "token_file": self.token_file,
            "ticket_cache": self.ticket_cache,
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Credential:
        """The inverse of `to_dict`."""
        kind, expires = CredentialKind(plain["kind"]), plain["expires_at"]
        return cls(
            kind=kind,
            secret=_from_text(kind, plain["secret"]),
            certificate_pem=plain["certificate_pem"],
            thumbprint=plain["thumbprint"],
            expires_at=None if expires is None else datetime.fromtimestamp(expires, UTC),
            # Credentials that were sealed before there were identities and ticket caches name none.
            identity_client_id=plain.get("identity_client_id", ""),
            token_file=plain.get("token_file", ""),
            ticket_cache=plain.get("ticket_cache", ""),
        )


def _as_text(kind: CredentialKind, secret: Secret) -> str:
    """A secret as JSON can hold it: of a keytab, which is no text, as Base64."""
    held = secret.reveal()
    return base64.b64encode(held).decode("ascii") if kind is CredentialKind.KEYTAB else held.decode("utf-8")


def _from_text(kind: CredentialKind, text: str) -> Secret:
    return Secret(base64.b64decode(text, validate=True) if kind is CredentialKind.KEYTAB else text)


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Why a tenant is not pulled until its credential is replaced."""

    code: str
    since: datetime
    advice: str


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows of a tenant there are, by what they are."""

    sources: int = 0
    mailboxes: int = 0
    contacts: int = 0  # cards included
    photos: int = 0
    credentials: int = 0


@dataclass(frozen=True, slots=True)
class Tenant:
    """A registered tenant. `profile` is None once its erasure has begun: its keys may be gone already."""

    id: bytes
    epoch: int
    profile: TenantProfile | None
    purge_at: datetime
    quarantine: Quarantine | None = None

    @property
    def facts(self) -> TenantProfile:
        """The profile of a tenant that is known to be alive."""
        if self.profile is None:
            raise ValueError("a tenant in erasure has no profile any more")
        return self.profile
