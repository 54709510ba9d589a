"""From options, or a table of an import file, to a tenant to register: everything checked, nothing stored."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from syncvault.cli import secrets_in, service_account, values
from syncvault.cli.given import Given, one_of
from syncvault.cli.scoping import scope_given
from syncvault.cli.terminal import note, shown
from syncvault.errors import InputError, UsageError
from syncvault.policy.subscription import Subscription, SubscriptionKind
from syncvault.vault.model import (
    Credential,
    OnlineConnection,
    OnpremConnection,
    Tenant,
    TenantKind,
    TenantProfile,
)

if TYPE_CHECKING:
    from connectors.port import Identity
    from syncvault.vault.vault import Vault

DEFAULT_TERM: Final = "P1Y"
DEFAULT_ZONE: Final = "UTC"
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


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
        locale=given.optional("locale", one_of(values.LOCALES), "en"),
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


def settled(facts: TenantProfile, opened_by: Credential) -> TenantProfile:
    """The facts as they can be stored; autodiscover is asked for the address of EWS where none was given.

    Raises:
        InputError: The keytab has no key of the service account.
        ExchangeError: The server refused, with its own code.
    """
    connection = facts.connection
    if not isinstance(connection, OnpremConnection):
        return facts
    from syncvault.sync import connect, onprem

    onprem.principal(connection, opened_by)
    if connection.ews_url:
        return facts
    found = connect.discover(connection, opened_by)
    note(f"Autodiscover names {shown(found)}")
    return replace(facts, connection=replace(connection, ews_url=found))


@contextmanager
def refused_once(vault: Vault, tenant: Tenant, stored: Credential) -> Iterator[None]:
    """Around what sends a stored credential by hand: a service account's, once refused, waits in quarantine.

    Without this, whoever watches tenants with `credential check` would lock the account.

    Raises:
        InputError: It was refused before, and has not been replaced.
        ExchangeError: It is refused now, or something else went wrong.
    """
    from syncvault.sync.connect import ExchangeError
    from syncvault.vault import tenants

    can_be_locked = tenant.facts.kind is TenantKind.ONPREM
    if can_be_locked and tenant.quarantine is not None:
        raise InputError(
            f"The server refused the credential ({tenant.quarantine.code}); it is not sent again.",
            advice="Replace it, or give the same once the account is in order: "
            f"syncvault credential rotate {tenant.facts.name}",
        )
    try:
        yield
    except ExchangeError as error:
        if can_be_locked and error.refuses_credential:
            tenants.quarantine(vault, tenant, refused=stored, code=error.code, advice=error.advice)
        raise


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
        cloud=given.optional("cloud", one_of(values.CLOUDS), "global"),
        authority=given.optional("authority", values.origin),
        graph_url=given.optional("graph-url", values.origin),
        ca_pem=ca_bundle(given.path("ca-bundle"), given.label("ca-bundle")),
        uses_proxy=not given.texts.get("no-proxy"),
    )


def _onprem(given: Given) -> OnpremConnection:
    way = service_account.sign_in(given)
    username = given.required("username", values.account)
    ews_url = _ews_url(given, username)
    return way.on(
        OnpremConnection(ews_url, username, ca_pem=ca_bundle(given.path("ca-bundle"), given.label("ca-bundle")))
    )


def _ews_url(given: Given, username: str) -> str:
    """The address of EWS; empty if autodiscover shall find it."""
    if not given.texts.get("autodiscover"):
        if given.texts.get("ews-url"):
            return given.required("ews-url", values.url)
        advice = f"Give it like {values.EXAMPLES['--ews-url']}, or {given.name('autodiscover')} in its place."
        raise UsageError(f"{given.label('ews-url')} is missing.", advice=advice)
    for other, why in (("ews-url", "names what it would look for"), ("no-probe", "forbids to sign in and look")):
        if given.texts.get(other):
            raise UsageError(
                f"{given.label('autodiscover')} does not go with {given.name(other)}, which {why}.",
                advice="Give one of them.",
            )
    service_account.domain(username, given)
    return ""


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
        SubscriptionKind.PAID, ends_on, zone, given.optional("term", one_of(values.TERMS), DEFAULT_TERM)
    )
