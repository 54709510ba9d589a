"""The fields of contacts by GetItem: only what is wanted, and no item forgotten for another."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest

from connectors.contact import Contact
from connectors.ews import connect
from connectors.ews.connector import EwsConnector
from connectors.port import CheckpointExpired, ProtocolViolation, ServerFault
from connectors.selection import BUSINESS, FULL, Selection
from tests.unit.ews_mailbox import TOP, asked, below, changed, contact, items, pull, said
from tests.unit.ews_wire import NOBODY, SETTINGS, Wire, answer, error, messages, success

_PROPERTIES = {
    "DisplayName": {"display_name"}, "GivenName": {"given_name"}, "MiddleName": {"middle_name"},
    "Surname": {"surname"}, "CompleteName": {"title"}, "Generation": {"generation"}, "Initials": {"initials"},
    "Nickname": {"nickname"}, "CompanyName": {"company"}, "Department": {"department"}, "JobTitle": {"job_title"},
    "OfficeLocation": {"office_location"}, "Profession": {"profession"}, "Manager": {"manager"},
    "AssistantName": {"assistant"}, "EmailAddress": {"email_addresses"}, "ImAddress": {"im_addresses"},
    "PhoneNumber": {"business_phones", "home_phones", "mobile_phone"}, "BusinessHomePage": {"web_page"},
    "Birthday": {"birthday"}, "SpouseName": {"spouse"}, "Children": {"children"}, "HasPicture": {"photo"},
    **{
        f"PhysicalAddress:{part}": {"business_address", "home_address", "other_address"}
        for part in ("Street", "City", "State", "CountryOrRegion", "PostalCode")
    },
}  # fmt: skip


def test_one_unreadable_item_does_not_hide_the_others(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), changed("s1", *(said("Create", one) for one in "abcd")))
    wire.reply(
        messages(
            "GetItem",
            success("GetItem", f"<m:Items>{contact('a')}</m:Items>"),
            error("GetItem", "ErrorAccessDenied"),
            error("GetItem", "ErrorItemNotFound"),
            success("GetItem", f"<m:Items>{contact('d')}</m:Items>"),
        )
    )

    (page,) = pull(connector)

    assert [one.id for one in page.upserts] == ["a", "d"]
    assert page.skipped == {"malformed": 1}
    assert page.unread == ("b",)


def test_an_item_that_could_not_be_read_is_asked_for_with_the_next_round(wire: Wire, connector: EwsConnector) -> None:
    unreadable = messages("GetItem", error("GetItem", "ErrorItemCorrupt"))
    wire.reply(TOP, below(), changed("s1", said("Create", "a")), unreadable)
    wire.reply(TOP, below(), changed("s2"), unreadable)
    wire.reply(TOP, below(), changed("s3"), items(contact("a")))
    checkpoints: dict[str, str] = {}
    found = []
    for _ in range(3):
        (page,) = pull(connector, checkpoints)
        checkpoints[page.folder.id] = page.checkpoint
        found.append([one.id for one in page.upserts])
    assert found == [[], [], ["a"]]
    assert checkpoints["top"] == "s3"


def test_where_more_items_cannot_be_read_than_are_kept_in_mind_none_is_forgotten(
    wire: Wire, connector: EwsConnector
) -> None:
    wire.reply(TOP, below(), changed("s1", said("Create", "a"), said("Create", "b")))
    wire.reply(messages("GetItem", *[error("GetItem", "ErrorItemCorrupt")] * 2), TOP, below())

    with patch("connectors.ews.mailbox.contacts._MOST_UNREAD", 1):
        (page,) = pull(connector)
        with pytest.raises(CheckpointExpired):
            pull(connector, {"top": page.checkpoint})


def test_an_item_that_is_gone_before_it_could_be_read_is_not_asked_for(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), changed("s2", said("Delete", "a")))
    (page,) = pull(connector, {"top": "s1\x1fa"})
    assert ([one.id for one in page.removals], page.checkpoint) == (["a"], "s2")


def test_items_that_meet_a_passing_error_are_asked_for_again_and_come_once(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), changed("s1", *(said("Create", one) for one in "abc")))
    wire.reply(
        messages(
            "GetItem",
            success("GetItem", f"<m:Items>{contact('a')}</m:Items>"),
            error("GetItem", "ErrorServerBusy"),
            success("GetItem", f"<m:Items>{contact('c')}</m:Items>"),
        )
    )
    wire.reply(messages("GetItem", error("GetItem", "ErrorServerBusy")), items(contact("b")))

    (page,) = pull(connector)

    assert sorted(one.id for one in page.upserts) == ["a", "b", "c"]
    assert [asked(request) for request in wire.seen[4:]] == [["b"], ["b"]]


def failing(number: int) -> str:
    """An answer in which the server fails at so many items."""
    return messages("GetItem", *[error("GetItem", "ErrorInternalServerError")] * number)


def test_a_single_item_at_which_the_server_keeps_failing_is_one_that_cannot_be_read(
    wire: Wire, connector: EwsConnector
) -> None:
    wire.reply(TOP, below(), changed("s1", said("Create", "a")), *[failing(1)] * 7, NOBODY)

    (page,) = pull(connector)

    assert (page.upserts, page.unread) == ((), ("a",))


def test_items_at_which_the_server_keeps_failing_do_not_hide_the_others(wire: Wire, connector: EwsConnector) -> None:
    read, failed = (
        success("GetItem", f"<m:Items>{contact('b')}</m:Items>"),
        error("GetItem", "ErrorInternalServerError"),
    )
    wire.reply(TOP, below(), changed("s1", *(said("Create", one) for one in "abc")))
    wire.reply(messages("GetItem", failed, read, failed), *[failing(2)] * 7, NOBODY)

    (page,) = pull(connector)

    assert ([one.id for one in page.upserts], page.unread) == (["b"], ("a", "c"))


def test_a_server_that_fails_at_all_items_stops_the_page(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), changed("s1", said("Create", "a"), said("Create", "b")), *[failing(2)] * 7, NOBODY)

    with pytest.raises(ServerFault, match="ErrorInternalServerError"):
        pull(connector)


@pytest.mark.parametrize(("asked_for", "waited"), [(7_000, [pytest.approx(7.0, abs=1)]), (3_600_000, [])])
def test_a_server_too_busy_for_some_items_is_left_in_peace_for_as_long_as_it_asks(
    wire: Wire, connector: EwsConnector, waits: list[float], asked_for: int, waited: list[Any]
) -> None:
    extra = f'<m:MessageXml><t:Value Name="BackOffMilliseconds">{asked_for}</t:Value></m:MessageXml>'
    read = success("GetItem", f"<m:Items>{contact('a')}</m:Items>")
    wire.reply(TOP, below(), changed("s1", said("Create", "a"), said("Create", "b")))
    wire.reply(messages("GetItem", read, error("GetItem", "ErrorServerBusy", extra)), items(contact("b")))

    (page,) = pull(connector)

    assert [one.id for one in page.upserts] == ["a", "b"]
    assert waits == waited  # for what is too long, the next request fails as a whole


def test_an_error_nobody_knows_stops_the_page_before_it_is_committed(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), changed("s1", said("Create", "a"), said("Create", "b")))
    wire.reply(
        messages(
            "GetItem",
            success("GetItem", f"<m:Items>{contact('a')}</m:Items>"),
            error("GetItem", "ErrorSomethingNew"),
        )
    )

    with pytest.raises(ServerFault, match="ErrorSomethingNew"):
        pull(connector)


def test_an_answer_that_misses_items_is_asked_for_in_halves(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), changed("s1", *(said("Create", one) for one in "abcd")))
    wire.reply(items(contact("a"), contact("b"), contact("d")), items(contact("a"), contact("b")))
    wire.reply(items(contact("c"), contact("d")))

    (page,) = pull(connector)

    assert [one.id for one in page.upserts] == ["a", "b", "c", "d"]


def test_items_that_are_too_much_together_come_in_halves(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), changed("s1", said("Create", "a"), said("Create", "b")))
    wire.reply(items(contact("a", "x" * 5_000), contact("b")), items(contact("a", "x" * 5_000)), items(contact("b")))

    with patch("connectors.ews.mailbox.items.CHUNK_LIMIT", 4_000):
        (page,) = pull(connector)

    assert [one.id for one in page.upserts] == ["a", "b"]
    assert [asked(request) for request in wire.seen[3:]] == [["a", "b"], ["a"], ["b"]]


def test_an_item_that_is_too_large_for_any_contact_is_no_answer(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), changed("s1", said("Create", "a")), items(contact("a", "x" * 5_000)))

    with patch("connectors.ews.mailbox.items.ANSWER_LIMIT", 4_000), pytest.raises(ProtocolViolation, match="larger"):
        pull(connector)


@pytest.mark.parametrize("fields", [BUSINESS, FULL, frozenset({"display_name"}), frozenset({"title", "notes"})])
def test_the_wanted_fields_and_nothing_else_are_asked_for(wire: Wire, fields: frozenset[str]) -> None:
    wire.reply(TOP, below(), changed("s1", said("Create", "a")), items(contact("a")))

    pull(connect(SETTINGS, selection=Selection(fields)))

    assert {str(uri) for uri in wire.seen[3].find("//@FieldURI")} == {
        "item:Sensitivity",
        *("contacts:" + name for name in _PROPERTIES if _PROPERTIES[name] & fields),
        *(["item:Body"] if "notes" in fields else []),
    }


def test_nothing_beyond_the_wanted_fields_is_handed_over(wire: Wire) -> None:
    wire.reply(TOP, below(), changed("s1", said("Create", "a")))
    wire.reply(items(contact("a").replace("</t:Contact>", "<t:SpouseName>Bo</t:SpouseName></t:Contact>")))

    (page,) = pull(connect(SETTINGS, selection=Selection(frozenset({"display_name"}))))

    assert page.upserts[0].contact == Contact(display_name="a")


def test_an_item_that_an_answer_keeps_leaving_out_stops_the_page(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), changed("s1", said("Create", "a")), items(contact("a"), contact("b")))

    with pytest.raises(ProtocolViolation, match="match"):
        pull(connector)


def test_an_answer_without_an_item_is_malformed(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), changed("s1", said("Create", "a"), "<t:Create><t:Contact/></t:Create>"))
    wire.reply(answer("GetItem", "<m:Items/>"))

    (page,) = pull(connector)

    assert (page.upserts, page.skipped) == ((), {"malformed": 2})


@pytest.mark.parametrize("element", ["Item", "Message"])
def test_what_turns_out_to_be_no_contact_is_left_out(wire: Wire, connector: EwsConnector, element: str) -> None:
    wire.reply(TOP, below(), changed("s1", *(said("Create", item_id, element=element) for item_id in "ab")))
    wire.reply(items(f'<t:{element}><t:ItemId Id="a"/></t:{element}>', contact("b")))

    (page,) = pull(connector)

    assert page.skipped == {"not_a_contact": 1}
    assert [one.id for one in page.upserts] == ["b"]
