"""From options, or a table of an import file, to a tenant to register: everything checked, nothing stored."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from syncvault.cli import secrets_in, values
from syncvault.cli.scoping import scope_given
from syncvault.errors import InputError, UsageError
from syncvault.policy.subscription import Subscription, SubscriptionKind
from syncvault.vault.model import (
    Credential,
    OnlineConnection,
    OnpremConnection,
    TenantKind,
    TenantProfile,
)

if TYPE_CHECKING:
    from connectors.port import Identity
    from syncvault.vault.vault import Vault

DEFAULT_TERM: Final = "P1Y"
DEFAULT_ZONE: Final = "UTC"
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

Parser = Callable[[str, str], str]


def as_option(key: str) -> str:
    """How the command line calls a value."""
    return "NAME" if key == "name" else f"--{key}"


@dataclass(frozen=True)
class Given:
    """Values by the names of their options, without dashes in front; `label` says how a refusal calls one."""

    texts: Mapping[str, Any]
    label: Callable[[str], str] = as_option

    def required(self, key: str, parse: Parser) -> str:
        """A value that must be there."""
        text = self.texts.get(key)
        if not text:
            example = values.EXAMPLES.get(as_option(key), "")
            raise UsageError(f"{self.label(key)} is missing.", advice=f"Give it like {example}" if example else "")
        return parse(text, self.label(key))

    def optional(self, key: str, parse: Parser, default: str = "") -> str:
        """A value that may be left out."""
        text = self.texts.get(key)
        return parse(text, self.label(key)) if text else default

    def path(self, key: str) -> Path | None:
        """A file that may be left out."""
        text = self.texts.get(key)
        return Path(text) if text else None


def profile(kind: TenantKind, given: Given) -> TenantProfile:
    """The facts about a tenant.

    Raises:
        UsageError: A value is missing or malformed.
        InputError: The bundle of authorities holds no certificate.
    """
    return TenantProfile(
        name=given.required("name", values.tenant_name),
        connection=_online(given) if kind is TenantKind.ONLINE else _onprem(given),
        subscription=_subscription(given),
        admin_mail=given.required("admin-mail", values.address),
        billing_mail=given.optional("billing-mail", values.address),
        customer_number=given.optional("customer-number", values.plain_text),
        locale=given.optional("locale", _one_of(values.LOCALES), "en"),
        scope=scope_given(given.texts),
    )


def ca_bundle(path: Path | None, name: str) -> str:
    """The certificates of a bundle of authorities, in PEM.

    Raises:
        UsageError: The file is missing.
        InputError: It holds no usable certificate.
    """
    if path is None:
        return ""
    from syncvault.sync import connect

    pem = "\n".join(_CERTIFICATE.findall(secrets_in.read_file(path, name).decode("ascii", "replace")))
    if not connect.are_authorities(pem):
        raise InputError(
            f"The file given for {name} holds no usable certificate.",
            advice="Give the certificates of the authority in PEM form.",
        )
    return pem + "\n"


def require_free_name(vault: Vault, name: str) -> None:
    """Refuses a name that is taken, before anybody is asked anything."""
    from syncvault.vault.tenants import is_name_free

    if not is_name_free(vault, name):
        raise InputError(
            f"A tenant named {name} is registered already.",
            advice="Choose another name, or use `syncvault tenant edit`.",
        )


def probe(facts: TenantProfile, opened_by: Credential) -> Identity:
    """Signs in once.

    Raises:
        ExchangeError: The server refused, with its own code.
    """
    from syncvault.sync import connect

    return connect.probe(facts, opened_by)


def _online(given: Given) -> OnlineConnection:
    return OnlineConnection(
        directory_id=given.required("directory-id", values.guid),
        client_id=given.required("client-id", values.guid),
        cloud=given.optional("cloud", _one_of(values.CLOUDS), "global"),
        authority=given.optional("authority", values.origin),
        graph_url=given.optional("graph-url", values.origin),
        ca_pem=ca_bundle(given.path("ca-bundle"), given.label("ca-bundle")),
        uses_proxy=not given.texts.get("no-proxy"),
    )


def _onprem(given: Given) -> OnpremConnection:
    return OnpremConnection(
        ews_url=given.required("ews-url", values.url),
        username=given.required("username", values.account),
        auth=given.optional("auth", _one_of(values.AUTH_SCHEMES), "ntlm"),
        ca_pem=ca_bundle(given.path("ca-bundle"), given.label("ca-bundle")),
    )


def _subscription(given: Given) -> Subscription:
    trial, paid, term = (given.texts.get(key) for key in ("trial-until", "paid-until", "term"))
    if bool(trial) == bool(paid):
        raise UsageError(
            f"Exactly one of {given.label('trial-until')} and {given.label('paid-until')} is needed.",
            advice=f"Give it like {given.label('trial-until')} 2027-12-31",
        )
    zone = given.optional("time-zone", values.zone, DEFAULT_ZONE)
    if trial:
        if term:
            raise UsageError("A trial has no term.", advice=f"Leave {given.label('term')} out.")
        return Subscription(SubscriptionKind.TRIAL, values.day(trial, given.label("trial-until")), zone)
    ends_on = values.day(str(paid), given.label("paid-until"))
    return Subscription(
        SubscriptionKind.PAID, ends_on, zone, given.optional("term", _one_of(values.TERMS), DEFAULT_TERM)
    )


def _one_of(choices: tuple[str, ...]) -> Parser:
    return lambda text, name: values.choice(text, name, choices)
