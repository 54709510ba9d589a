"""An Exchange with the habits of grommunio, which speaks EWS too: nothing is lost, and nothing taken for removed.

Its answers leave out lists that are empty, the detail of faults, and what flags a picture; and it serves so many items
at once that others are told to wait.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lxml import etree

from connectors.port import Connector, Mailbox, MailboxGone, MailboxKind, PhotoState
from tests.conftest import Authority
from tests.contract.harness import Copy
from tests.contract.harness_ews import EwsHarness
from tests.reading import outcomes
from tests.simulators.company import cast
from tests.simulators.company.model import Company
from tests.simulators.onprem.soap import NAMESPACES, TYPES

AT_ONCE = 3  # items
PUBLIC_BOX = Mailbox("\\vertrieb", "Vertrieb", kind=MailboxKind.PUBLIC_FOLDER)
NEVER_TOLD = ("HasPicture", "IsContactPhoto", "LastModifiedTime")
PICTURED = "Dr. Katharina M. von Blumenthal"


def in_its_words(answer: bytes) -> bytes:
    """An answer of Exchange's, as it would be grommunio's."""
    root = etree.fromstring(answer)
    left_out = list(root.iter(*(f"{{{TYPES}}}{name}" for name in NEVER_TOLD)))
    left_out += root.iterfind(".//s:Fault/detail", NAMESPACES)
    for found in root.iterfind(".//m:FindFolderResponseMessage/m:RootFolder", NAMESPACES):
        left_out += [] if len(found.find("t:Folders", NAMESPACES)) else [found]
    for message in root.findall(".//m:GetItemResponseMessage", NAMESPACES)[AT_ONCE:]:
        message.set("ResponseClass", "Error")
        message.find("m:ResponseCode", NAMESPACES).text = "ErrorServerBusy"
        left_out += message.findall("m:Items", NAMESPACES)
    for element in left_out:
        element.getparent().remove(element)
    return bytes(etree.tostring(root, encoding="utf-8", xml_declaration=True))


@pytest.fixture
def harness(company: Company, authority: Authority) -> Iterator[EwsHarness]:
    made = EwsHarness(company, authority.ca, authority.ca_pem)
    made.simulator.faults.rewrite(in_its_words, times=1_000_000)
    yield made
    made.close()
    assert made.simulator.recorder.crashes == []


@pytest.fixture
def connector(harness: EwsHarness) -> Connector:
    return harness.connect()


@pytest.fixture
def annas(harness: EwsHarness, connector: Connector) -> Copy:
    return Copy(harness.mailbox(cast.ANNA)).pull(connector)


def test_a_mailbox_is_pulled_whole_and_then_what_changed(
    harness: EwsHarness, connector: Connector, company: Company, annas: Copy
) -> None:
    assert annas.holdings == harness.holdings(cast.ANNA)

    company.remove_contact(cast.ANNA, cast.item_id(cast.ANNA, PICTURED))
    company.add_contact(cast.ANNA, surname="Neu")
    company.delete_folder(cast.ANNA, cast.folder_id(cast.ANNA, "Contacts/Privat"))

    assert annas.pull(connector).holdings == harness.holdings(cast.ANNA)
    assert annas.pull(connector).moved == 0


def test_a_picture_is_known_by_its_name(connector: Connector, company: Company, annas: Copy) -> None:
    (photo,) = connector.photos([annas.photo_ref(PICTURED)])

    held = company.box_of(cast.ANNA).find(annas.photo_ref(PICTURED).item_id)
    assert held is not None
    assert (photo.state, photo.content) == (PhotoState.PRESENT, held[1].photo)


def test_public_folders_are_read_to_the_leaves(harness: EwsHarness, connector: Connector) -> None:
    pulled = Copy(PUBLIC_BOX).pull(connector)

    harness.simulator.faults.clear()
    assert pulled.holdings == Copy(PUBLIC_BOX).pull(connector).holdings
    assert "Vertrieb/Kunden/Nord" in {path for path, _ in pulled.holdings}


def test_a_mailbox_that_nobody_has_is_told_so(connector: Connector) -> None:
    with pytest.raises(MailboxGone):
        list(outcomes(connector, Mailbox("nobody@example.com", "nobody@example.com")))
