"""Contacts of the organisation: people outside it whom its address list shows. They have a card and no mailbox.

Source: Microsoft Graph, "orgContact resource type" and "List orgContacts".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from connectors.graph.mapping import Fields, card_from
from connectors.graph.wire.client import GraphClient, Json, identifier_in
from connectors.graph.wire.refusals import Refusal, explain
from connectors.port import Card, Mailbox, MailboxKind

PERMISSION: Final = "Grant the application OrgContact.Read.All in Entra, with admin consent."

_PAGE: Final = 999
_PROPERTIES: Final = {
    "display_name": "displayName",
    "given_name": "givenName",
    "surname": "surname",
    "company": "companyName",
    "department": "department",
    "job_title": "jobTitle",
    "email_addresses": "mail",
    "business_phones": "phones",
    "mobile_phone": "phones",
}


def organisation_contacts(client: GraphClient, fields: Fields) -> Iterator[Card]:
    """Every contact of the organisation, each once; raises NotPermitted if they may not be read."""
    select = ",".join(dict.fromkeys(["id", "mail", *(text for name, text in _PROPERTIES.items() if name in fields)]))
    seen: set[str] = set()
    try:
        for page in client.pages(f"/contacts?$select={select}&$top={_PAGE}"):
            for entry in page:
                card = _card(entry, fields)
                if card.mailbox.key not in seen:
                    seen.add(card.mailbox.key)
                    yield card
    except Refusal as refusal:
        raise explain(refusal, advice=PERMISSION) from None


def _card(entry: Json, fields: Fields) -> Card:
    key = identifier_in(entry)
    mail = entry.get("mail")
    mailbox = Mailbox(key=key.lower(), address=mail if isinstance(mail, str) else "", kind=MailboxKind.OUTSIDE)
    as_user = {name: entry.get(name) for name in _PROPERTIES.values()}
    as_user |= {"businessPhones": _phones(entry, "business"), "mobilePhone": next(iter(_phones(entry, "mobile")), "")}
    return Card(mailbox, card_from(as_user, fields))


def _phones(entry: Json, kind: str) -> list[str]:
    phones = entry.get("phones")
    of_kind = (
        [one for one in phones if isinstance(one, dict) and one.get("type") == kind] if isinstance(phones, list) else []
    )
    return [number for one in of_kind if (number := one.get("number"))]
