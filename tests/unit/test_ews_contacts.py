"""What changed in a mailbox's contact folders: nothing lost, nothing private, nothing twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

import pytest

from connectors.ews import connect
from connectors.ews.connector import EwsConnector
from connectors.port import CheckpointExpired, NoMailbox, Page, ProtocolViolation, Removal, ServerFault
from tests.reading import outcomes
from tests.unit.ews_mailbox import ANNA, LAST, TOP, asked, below, changed, contact, items, pull, said
from tests.unit.ews_wire import SETTINGS, Reply, Wire, answer, error, fault, messages


def test_a_first_pull_brings_each_page_with_its_state(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below())
    wire.reply(changed("s1", said("Create", "a"), said("Create", "b"), last=False), items(contact("a"), contact("b")))
    wire.reply(changed("s2", said("Create", "c")), items(contact("c", picture="true")))

    first, second = pull(connector)

    assert [(one.id, one.contact.display_name, one.has_photo) for one in first.upserts] == [
        ("a", "a", False),
        ("b", "b", False),
    ]
    assert (first.checkpoint, first.last, first.removals) == ("s1", False, ())
    assert ([one.id for one in second.upserts], second.checkpoint, second.last) == (["c"], "s2", True)
    assert second.upserts[0].has_photo is True
    assert wire.seen_of("SyncFolderItems")[1].find("string(//m:SyncState)") == "s1"


def test_only_two_pages_after_the_one_in_hand_are_fetched(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below())
    for number in range(5):
        wire.reply(changed(f"s{number}", said("Create", f"c{number}"), last=False), items(contact(f"c{number}")))

    pages = outcomes(connector, ANNA, {})
    with (
        ThreadPoolExecutor(2) as ahead,
        patch("connectors.ews.mailbox.contacts.ThreadPoolExecutor", lambda *_, **__: ahead),
    ):
        next(pages)

    assert sorted(asked(request) for request in wire.seen_of("GetItem")) == [["c0"], ["c1"], ["c2"]]
    assert len(wire.seen_of("SyncFolderItems")) == 4  # the last one says what comes after them


def test_a_page_is_handed_over_before_the_failure_of_the_one_after_it(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), changed("s1", said("Create", "a"), last=False), items(contact("a")))
    wire.reply(messages("SyncFolderItems", error("SyncFolderItems", "ErrorMailboxMoveInProgress")))

    pages = outcomes(connector, ANNA, {})

    assert next(pages).checkpoint == "s1"
    with pytest.raises(ServerFault):
        next(pages)


def test_the_last_word_on_an_item_counts(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below())
    wire.reply(
        changed(
            "s1",
            said("Create", "a"),
            said("Update", "a"),
            said("Delete", "b"),
            said("Create", "c"),
            said("Delete", "c"),
            '<t:ReadFlagChange><t:ItemId Id="d"/><t:IsRead>true</t:IsRead></t:ReadFlagChange>',
        ),
        items(contact("a")),
    )

    (page,) = pull(connector, {"top": "s0"})

    assert [one.id for one in page.upserts] == ["a"]
    assert set(page.removals) == {Removal("b"), Removal("c")}


def test_private_items_are_not_even_fetched(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), changed("s1", said("Create", "a"), said("Create", "p", "Private")), items(contact("a")))

    (page,) = pull(connector)

    assert asked(wire.seen[3]) == ["a"]
    assert [one.id for one in page.upserts] == ["a"]
    assert (page.skipped, page.removals) == ({"private": 1}, ())


def test_an_item_that_became_private_is_removed(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), changed("s2", said("Update", "p", "Private")))

    (page,) = pull(connector, {"top": "s1"})

    assert (page.skipped, page.removals) == ({"private": 1}, (Removal("p"),))


def test_a_server_that_tells_of_privacy_only_with_the_item_is_heard_too(wire: Wire, connector: EwsConnector) -> None:
    identity = '<t:Update><t:Contact><t:ItemId Id="p"/></t:Contact></t:Update>'
    wire.reply(TOP, below(), changed("s2", identity), items(contact("p", sensitivity="Private")))

    (page,) = pull(connector, {"top": "s1"})

    assert (page.upserts, page.skipped, page.removals) == ((), {"private": 1}, (Removal("p"),))


def test_distribution_lists_are_no_contacts(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), changed("s1", said("Create", "l", element="DistributionList")))

    (page,) = pull(connector)

    assert (page.upserts, page.skipped) == ((), {"not_a_contact": 1})


@pytest.mark.parametrize(
    "reply",
    [
        messages("SyncFolderItems", error("SyncFolderItems", "ErrorInvalidSyncStateData")),
        (500, {}, fault("ErrorInvalidSyncStateData")),
    ],
    ids=["message", "fault"],
)
def test_an_expired_state_names_its_folder(wire: Wire, connector: EwsConnector, reply: Reply) -> None:
    wire.reply(TOP, below(), reply)

    with pytest.raises(CheckpointExpired) as caught:
        pull(connector, {"top": "s1"})

    assert caught.value.folder_id == "top"


def test_a_sync_that_does_not_advance_ends(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), changed("s1", last=False), changed("s1", last=False))

    with pytest.raises(ProtocolViolation, match="advance"):
        pull(connector)


def test_a_sync_that_brings_nothing_for_ever_ends(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), *(changed(f"s{number}", last=False) for number in range(200)))

    with pytest.raises(ProtocolViolation, match="no end"):
        pull(connector)


def test_a_person_in_the_directory_without_a_mailbox_has_nothing_to_pull(wire: Wire, connector: EwsConnector) -> None:
    found = (
        '<m:ResolutionSet TotalItemsInView="1" IncludesLastItemInRange="true"><t:Resolution><t:Mailbox>'
        "<t:Name>Anna</t:Name><t:EmailAddress>anna@example.com</t:EmailAddress></t:Mailbox></t:Resolution>"
        "</m:ResolutionSet>"
    )
    wire.reply((500, {}, fault("ErrorNonExistentMailbox")), answer("ResolveNames", found))

    with pytest.raises(NoMailbox):
        pull(connector)


def test_the_page_size_is_never_above_what_the_schema_allows(wire: Wire) -> None:
    wire.reply(TOP, below(), changed("s1"))

    (page,) = outcomes(connect(SETTINGS, page_size=5_000), ANNA, {})

    assert isinstance(page, Page)
    assert wire.seen[2].find("string(//m:MaxChangesReturned)") == "512"


def test_a_state_may_hold_whatever_its_server_likes(wire: Wire, connector: EwsConnector) -> None:
    state = "v2|contacts|17 *"
    wire.reply(
        TOP, below(), changed(state, said("Create", "a")), messages("GetItem", error("GetItem", "ErrorItemCorrupt"))
    )
    (page,) = pull(connector)
    wire.reply(TOP, below(), changed(state), items(contact("a")))

    (again,) = pull(connector, {"top": page.checkpoint})

    assert wire.seen[6].find("string(//m:SyncState)") == state
    assert [one.id for one in again.upserts] == ["a"]
    assert again.checkpoint == state


def test_an_answer_without_a_state_cannot_be_gone_on_from(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), changed(""))

    with pytest.raises(ProtocolViolation, match="sync state"):
        pull(connector)


def test_a_server_that_never_says_it_was_the_last_page_is_done_when_nothing_comes(
    wire: Wire, connector: EwsConnector
) -> None:
    silent = "<m:IncludesLastItemInRange></m:IncludesLastItemInRange>"
    wire.reply(TOP, below())
    wire.reply(changed("s1", said("Create", "a")).replace(LAST, silent), items(contact("a")))
    wire.reply(changed("s2").replace(LAST, silent))

    assert [page.last for page in pull(connector)] == [False, True]
