"""What we send is what Microsoft's schemas allow, and asks for nothing beyond the canonical contact."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from lxml import etree

from connectors.ews.wire import operations
from connectors.ews.wire.operations import MESSAGES
from connectors.selection import FULL

REQUESTS = {
    "contacts folder": operations.get_contacts_folder(),
    "folders below": operations.find_contact_folders(0),
    "numbers of folders below": operations.count_folders_below(["AAMkAGI=", "AAMkAGJ="]),
    "number of public folders": operations.count_folders_below([]),
    "first sync": operations.sync_folder_items("AAMkAGI=", "", 512),
    "next sync": operations.sync_folder_items("AAMkAGI=", "H4sIAAA=", 100),
    "items": operations.find_items("AAMkAGI=", 512),
    "contacts": operations.get_contacts(["AAMk1", "AAMk2"], FULL),
    "names of contacts": operations.get_contacts(["AAMk1"], frozenset({"display_name"})),
    "attachment lists": operations.get_attachment_lists(["AAMk1"]),
    "attachments": operations.get_attachments(["AAMkX", "AAMkY"]),
    "names": operations.resolve_names("anna@example.com"),
    "public folders at the top": operations.find_public_folders([], 0),
    "public folders below": operations.find_public_folders(["AAMkAGI=", "AAMkAGJ="], 500),
    "members": operations.expand_dl("sales@example.com"),
    "people": operations.find_people(500, FULL),
    "names of people": operations.find_people(0, frozenset({"display_name"})),
    "photo": operations.get_user_photo("anna@example.com", "HR240x240"),
}


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    contracts = os.environ.get("SYNCVAULT_CONTRACTS", "")
    if not contracts:
        pytest.skip("SYNCVAULT_CONTRACTS names no folder")
    return etree.XMLSchema(etree.parse(str(Path(contracts) / "ews" / "messages.xsd")))


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_valid_by_the_schema(schema: etree.XMLSchema, name: str) -> None:
    request = etree.fromstring(etree.tostring(REQUESTS[name]))

    schema.assertValid(request)


def test_the_schema_check_refuses_a_wrong_order(schema: etree.XMLSchema) -> None:
    request = etree.fromstring(etree.tostring(REQUESTS["names"]))
    request.append(etree.SubElement(request, f"{{{MESSAGES}}}ParentFolderIds"))

    assert not schema.validate(request)


def test_contacts_are_asked_for_without_fields_that_are_not_stored() -> None:
    request = etree.tostring(REQUESTS["contacts"]).decode()

    assert "AllProperties" not in request
    assert "BusinessFax" not in request
    assert "WeddingAnniversary" not in request


def test_people_are_asked_for_without_the_attribute_that_no_schema_allows() -> None:
    assert REQUESTS["people"].get("Traversal") is None
    assert "Deep" not in etree.tostring(REQUESTS["public folders below"]).decode()
