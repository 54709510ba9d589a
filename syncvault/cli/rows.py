"""Tenants, sources and contacts as `--json` and the tables show them: plain values, masked unless asked otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from syncvault.cli.output import instant
from syncvault.masking import mask_address, mask_ref
from syncvault.policy.calendar import civil_day
from syncvault.policy.subscription import State
from syncvault.vault.model import Counts, OnlineConnection, OnpremConnection, Tenant, TenantProfile

if TYPE_CHECKING:
    from syncvault.vault.content.contacts import StoredContact
    from syncvault.vault.content.runs import LastRun
    from syncvault.vault.content.sources import StoredMailbox, StoredSource
    from syncvault.vault.vault import Vault

_CONTACT_TEXTS: Final = ("display_name", "given_name", "surname", "company", "department", "job_title")
_CONTACT_LISTS: Final = ("email_addresses", "business_phones", "home_phones")


def id_text(own_id: bytes) -> str:
    """One of our own IDs as text."""
    return str(UUID(bytes=own_id))


def day_in(moment: datetime, zone: str) -> str:
    """The civil day of a tenant at an instant."""
    return civil_day(moment, ZoneInfo(zone)).isoformat()


def tenant_rows(vault: Vault, tenants: list[Tenant], *, reveal: bool = False) -> list[dict[str, Any]]:
    """Tenants with what is held for each."""
    from syncvault.vault.content import runs
    from syncvault.vault.tenants import counts

    held, last = counts(vault), runs.last(vault)
    return [
        _tenant_row(tenant, vault.now, held.get(tenant.id, Counts()), last.get(tenant.id), reveal=reveal)
        for tenant in tenants
    ]


def _tenant_row(tenant: Tenant, now: datetime, held: Counts, last: LastRun | None, *, reveal: bool) -> dict[str, Any]:
    quarantine = tenant.quarantine
    row: dict[str, Any] = {"name": None, "id": id_text(tenant.id), "kind": None, "state": str(State.ERASING)}
    row["quarantined"] = (
        {"code": quarantine.code, "since": instant(quarantine.since), "advice": quarantine.advice}
        if quarantine
        else None
    )
    row |= {"subscription": None, "ends_on": None, "purge_on": day_in(tenant.purge_at, "UTC"), "customer_number": None}
    row |= {"sources": held.sources, "mailboxes": held.mailboxes, "contacts": held.contacts, "photos": held.photos}
    row["last_sync"] = instant(last.ended_at) if last else None
    row["last_sync_status"] = last.status if last else None
    return row if tenant.profile is None else row | _profile(tenant.profile, now, reveal=reveal)


def _profile(profile: TenantProfile, now: datetime, *, reveal: bool) -> dict[str, Any]:
    subscription = profile.subscription
    return {
        "name": profile.name,
        "kind": str(profile.kind),
        "state": str(subscription.state(now)),
        "subscription": str(subscription.kind),
        "term": subscription.term or None,
        "ends_on": subscription.cover_ends(now).isoformat(),
        "purge_on": subscription.purge_on(now).isoformat(),
        "time_zone": subscription.zone,
        "locale": profile.locale,
        "profile": profile.scope.profile,
        "folders": list(profile.scope.folders),
        "photo_size": profile.scope.photo_pixels,
        "include_private": profile.scope.private,
        "customer_number": profile.customer_number,
        "admin_mail": _address(profile.admin_mail, reveal=reveal),
        "billing_mail": _address(profile.billing_mail, reveal=reveal),
        **_connection(profile.connection, reveal=reveal),
    }


def _connection(connection: OnlineConnection | OnpremConnection, *, reveal: bool) -> dict[str, Any]:
    if isinstance(connection, OnlineConnection):
        return {
            "directory_id": connection.directory_id,
            "client_id": connection.client_id,
            "cloud": connection.cloud,
            "authority": connection.authority,
            "graph_url": connection.graph_url,
            "uses_proxy": connection.uses_proxy,
            "has_own_ca": bool(connection.ca_pem),
        }
    return {
        "ews_url": connection.ews_url,
        "username": _address(connection.username, reveal=reveal),
        "auth": connection.auth,
        "token_url": connection.token_url or None,
        "client_id": connection.client_id or None,
        "token_scope": connection.token_scope or None,
        "has_own_ca": bool(connection.ca_pem),
    }


def _address(address: str, *, reveal: bool) -> str:
    return address if reveal or not address else mask_address(address)


def source_row(source: StoredSource, zone: str, *, reveal: bool) -> dict[str, Any]:
    """A source; of people by a filter its text stands where others have what they refer to."""
    by_filter = source.kind == "all-users"
    ref, wanted = source.ref, source.filter
    if not reveal:
        ref, wanted = mask_ref(ref), replace(wanted, exclude_group=mask_ref(wanted.exclude_group))
    return {
        "id": id_text(source.id),
        "kind": str(source.kind),
        "ref": wanted.text if by_filter else ref,
        "filter": wanted.shown() if by_filter else None,
        "mailboxes": source.mailboxes,
        "purge_on": day_in(source.purge_at, zone),
    }


def mailbox_row(mailbox: StoredMailbox, *, reveal: bool) -> dict[str, Any]:
    """A mailbox as it stands within a contact."""
    return {"id": id_text(mailbox.id), "ref": mailbox.ref if reveal else mask_ref(mailbox.ref)}


def contact_row(contact: StoredContact, zone: str, *, reveal: bool, whole: bool = False) -> dict[str, Any]:
    """A contact: its own fields are content and never masked; `whole` gives every stored field."""
    fields: Mapping[str, Any] = contact.fields
    row: dict[str, Any] = {
        "id": id_text(contact.id),
        "kind": str(contact.kind),
        "mailbox": mailbox_row(contact.mailbox, reveal=reveal) if contact.mailbox.is_shown else None,
        "folder": contact.folder,
    }
    row |= {name: fields.get(name, "") for name in _CONTACT_TEXTS}
    row |= {name: list(fields.get(name, ())) for name in _CONTACT_LISTS}
    row |= {"mobile_phone": fields.get("mobile_phone", ""), "notes": fields.get("notes", "")}
    row |= {"has_photo": contact.has_photo, "photo_sha256": contact.photo_sha256}
    row["purge_on"] = day_in(contact.purge_at, zone)
    return {**row, **fields} if whole else row
