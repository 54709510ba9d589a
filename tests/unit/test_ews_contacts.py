"""What changed in a mailbox's contact folders: nothing lost, nothing private, nothing twice."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest

from connectors.contact import Contact
from connectors.ews import connect
from connectors.ews.connector import EwsConnector
from connectors.port import (
    CheckpointExpired,
    FolderGone,
    Mailbox,
    MailboxKind,
    NoMailbox,
    Page,
    ProtocolViolation,
    Removal,
    ServerFault,
)
from connectors.selection import BUSINESS, FULL, Selection
from tests.reading import outcomes
from tests.unit.ews_wire import NOBODY, SETTINGS, Reply, Seen, Wire, answer, error, fault, messages, success

ANNA = Mailbox("anna@example.com", "anna@example.com")


def folder(folder_id: str, name: str, parent: str = "root", folder_class: str = "IPF.Contact") -> str:
    return (
        f'<t:ContactsFolder><t:FolderId Id="{folder_id}" ChangeKey="A"/><t:ParentFolderId Id="{parent}"/>'
        f"<t:FolderClass>{folder_class}</t:FolderClass><t:DisplayName>{name}</t:DisplayName></t:ContactsFolder>"
    )


TOP = answer("GetFolder", f"<m:Folders>{folder('top', 'Kontakte')}</m:Folders>")

LAST = "<m:IncludesLastItemInRange>true</m:IncludesLastItemInRange>"


def below(*folders: str, last: bool = True, offset: int = 0) -> str:
    paging = f'IndexedPagingOffset="{offset}" TotalItemsInView="9" IncludesLastItemInRange="{str(last).lower()}"'
    return answer(
        "FindFolder",
        f"<m:RootFolder {paging}><t:Folders>{''.join(folders)}</t:Folders></m:RootFolder>",
    )


def changed(state: str, *changes: str, last: bool = True) -> str:
    return answer(
        "SyncFolderItems",
        f"<m:SyncState>{state}</m:SyncState>"
        f"<m:IncludesLastItemInRange>{str(last).lower()}</m:IncludesLastItemInRange>"
        f"<m:Changes>{''.join(changes)}</m:Changes>",
    )


def said(kind: str, item_id: str, sensitivity: str = "Normal", element: str = "Contact") -> str:
    identity = f'<t:ItemId Id="{item_id}" ChangeKey="E"/>'
    if kind == "Delete":
        return f"<t:Delete>{identity}</t:Delete>"
    return f"<t:{kind}><t:{element}>{identity}<t:Sensitivity>{sensitivity}</t:Sensitivity></t:{element}></t:{kind}>"


def contact(item_id: str, name: str = "", sensitivity: str = "Normal", picture: str = "false") -> str:
    return (
        f'<t:Contact><t:ItemId Id="{item_id}" ChangeKey="E"/><t:Sensitivity>{sensitivity}</t:Sensitivity>'
        f"<t:DisplayName>{name or item_id}</t:DisplayName><t:HasPicture>{picture}</t:HasPicture></t:Contact>"
    )


def items(*contacts: str) -> str:
    return answer("GetItem", *(f"<m:Items>{one}</m:Items>" for one in contacts))


def found_below(*folders: str) -> str:
    return answer("FindFolder", f"<m:RootFolder><t:Folders>{''.join(folders)}</t:Folders></m:RootFolder>")


def found(*item_ids: str, last: bool = True, total: int = 3) -> str:
    entries = "".join(f'<t:Contact><t:ItemId Id="{item_id}"/></t:Contact>' for item_id in item_ids)
    attributes = f'TotalItemsInView="{total}" IncludesLastItemInRange="{str(last).lower()}"'
    return answer("FindItem", f"<m:RootFolder {attributes}><t:Items>{entries}</t:Items></m:RootFolder>")


def counted(*numbers: str) -> str:
    """A server's own count of the folders right below some."""
    inner = '<t:Folder><t:FolderId Id="f"/><t:ChildFolderCount>{}</t:ChildFolderCount></t:Folder>'
    return answer("GetFolder", *(f"<m:Folders>{inner.format(number)}</m:Folders>" for number in numbers))


def asked(request: Seen) -> list[str]:
    return [str(item_id) for item_id in request.find("//m:ItemIds/t:ItemId/@Id")]


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


def pull(connector: EwsConnector, checkpoints: dict[str, str] | None = None) -> list[Any]:
    return list(outcomes(connector, ANNA, checkpoints or {}))


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


def test_only_the_page_after_the_one_in_hand_is_fetched(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below())
    for number in range(5):
        wire.reply(changed(f"s{number}", said("Create", f"c{number}"), last=False), items(contact(f"c{number}")))

    pages = outcomes(connector, ANNA, {})
    next(pages)
    pages.close()  # type: ignore[attr-defined]

    assert [asked(request) for request in wire.seen_of("GetItem")] == [["c0"], ["c1"]]
    assert len(wire.seen_of("SyncFolderItems")) == 3  # the last one says what comes after them


def test_a_page_is_handed_over_before_the_failure_of_the_one_after_it(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), changed("s1", said("Create", "a"), last=False), items(contact("a")))
    wire.reply(messages("SyncFolderItems", error("SyncFolderItems", "ErrorMailboxMoveInProgress")))

    pages = outcomes(connector, ANNA, {})

    assert next(pages).checkpoint == "s1"
    with pytest.raises(ServerFault):
        next(pages)


def test_folders_are_named_under_their_parents_and_others_left_out(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP)
    wire.reply(below(folder("deep", "Köln", parent="team"), folder("team", "Team", "top"), last=False, offset=2))
    wire.reply(
        below(
            folder("recent", "Recipient Cache", "top", "IPF.Contact.RecipientCache"),
            folder("mail", "Mails", "top", "IPF.Note"),
        )
    )
    wire.reply(changed("s"), changed("s"), changed("s"))

    paths = [page.folder.path for page in pull(connector)]

    assert sorted(paths) == ["Kontakte", "Kontakte/Team", "Kontakte/Team/Köln"]
    assert wire.seen[2].find("string(//m:IndexedPageFolderView/@Offset)") == "2"


def test_folders_that_are_gone_are_said_so(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), changed("s2"))

    gone, page = pull(connector, {"top": "s1", "old": "s7"})

    assert gone == FolderGone("old")
    assert page.checkpoint == "s2"


def test_a_folder_that_goes_while_it_is_read_is_said_so(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), messages("SyncFolderItems", error("SyncFolderItems", "ErrorSyncFolderNotFound")))

    assert pull(connector, {"top": "s1"}) == [FolderGone("top")]


def test_a_folder_that_goes_before_it_was_ever_read_is_nothing(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, below(), messages("SyncFolderItems", error("SyncFolderItems", "ErrorFolderNotFound")))

    assert pull(connector) == []


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


@pytest.mark.parametrize(
    "reply",
    [
        answer("GetFolder", "<m:Folders/>"),
        answer("GetFolder", "<m:Folders><t:ContactsFolder/></m:Folders>"),
        answer("GetFolder", ""),
    ],
)
def test_a_mailbox_without_a_contact_folder_is_said_so(wire: Wire, connector: EwsConnector, reply: str) -> None:
    wire.reply(reply)

    with pytest.raises(ProtocolViolation, match="contact folder"):
        pull(connector)


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


@pytest.mark.parametrize("code", ["ErrorInvalidRequest", "Client"])
def test_a_server_that_cannot_list_folders_still_gives_the_default_one(
    wire: Wire, connector: EwsConnector, code: str
) -> None:
    wire.reply(TOP, (500, {}, fault(code)), changed("s1"))

    (page,) = outcomes(connector, ANNA, {})

    assert isinstance(page, Page)
    assert page.folder.id == "top"


def test_folders_that_were_pulled_before_do_not_vanish_with_their_list(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(TOP, (500, {}, fault("ErrorInvalidRequest")))

    with pytest.raises(ServerFault):
        list(outcomes(connector, ANNA, {"top": "s1", "customers": "s1"}))


NO_LIST = answer("FindFolder", "")
UNCOUNTED = folder("customers", "Kunden", "top")


def said_of_two(answered: str) -> str:
    """A list that is counted, and of which nobody says where it ends."""
    return answered.replace("<m:RootFolder", '<m:RootFolder TotalItemsInView="2"')


@pytest.mark.parametrize(
    "told",
    [
        [NO_LIST, counted("1")],
        [NO_LIST, counted("")],
        [NO_LIST, TOP],
        [NO_LIST, messages("GetFolder", error("GetFolder", "ErrorAccessDenied"))],
        [answer("FindFolder", f"<m:Folders>{UNCOUNTED}</m:Folders>"), counted("0")],
        [below(last=False)],
        [said_of_two(found_below(UNCOUNTED)), said_of_two(found_below())],
    ],
    ids=[
        "one",
        "nothing",
        "no number",
        "no access",
        "without a list",
        "that there are more, and none of them",
        "one of two",
    ],
)
def test_folders_do_not_vanish_with_an_answer_that_does_not_tell_them(
    wire: Wire, connector: EwsConnector, told: list[str]
) -> None:
    wire.reply(TOP, *told, changed("s2"))

    with pytest.raises(ProtocolViolation, match="folders"):
        list(outcomes(connector, ANNA, {"top": "s1", "customers": "s1"}))


def test_an_empty_list_of_folders_that_is_left_out_is_taken_for_one_by_the_servers_own_count(
    wire: Wire, connector: EwsConnector
) -> None:
    wire.reply(TOP, NO_LIST, counted("0"), changed("s1", said("Create", "a")), items(contact("a")))

    (page,) = pull(connector)

    assert page.folder.path == "Kontakte"
    assert wire.operations[:3] == ["GetFolder", "FindFolder", "GetFolder"]
    assert wire.seen[2].find("//t:FolderId/@Id") == ["top"]
    assert wire.seen[2].find("//t:FieldURI/@FieldURI") == ["folder:ChildFolderCount"]
    assert wire.seen[2].find("//t:ExchangeImpersonation")


class TestAPublicFolderThatIsNotSynchronised:
    BOX = Mailbox("\\sales", "Sales", kind=MailboxKind.PUBLIC_FOLDER)
    REFUSAL = messages("SyncFolderItems", error("SyncFolderItems", "ErrorInvalidOperation"))

    @pytest.fixture(autouse=True)
    def folders(self, wire: Wire) -> None:
        wire.reply(found_below(folder("f", "Sales")), found_below())

    def test_it_is_listed_page_by_page(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(self.REFUSAL, found("a", "b", last=False), found("c"), items(*map(contact, "abc")))
        (page,) = outcomes(connector, self.BOX)
        assert [one.id for one in page.upserts] == ["a", "b", "c"]
        assert wire.seen[4].find("string(//m:IndexedPageItemView/@Offset)") == "2"

    @pytest.mark.parametrize(
        "code", ["ErrorInvalidFolderTypeForOperation", "ErrorInvalidSyncStateData", "ErrorSomethingNew"]
    )
    def test_whatever_code_the_server_refuses_by_it_is_listed(
        self, wire: Wire, connector: EwsConnector, code: str
    ) -> None:
        wire.reply(messages("SyncFolderItems", error("SyncFolderItems", code)), found("a"), items(contact("a")))
        (page,) = outcomes(connector, self.BOX)
        assert [one.id for one in page.upserts] == ["a"]

    def test_an_internal_error_that_stays_counts_as_a_refusal(self, wire: Wire, connector: EwsConnector) -> None:
        replies = {
            "SyncFolderItems": messages("SyncFolderItems", error("SyncFolderItems", "ErrorInternalServerError")),
            "ResolveNames": NOBODY,  # the server answers others
            "FindItem": found("a"),
            "GetItem": items(contact("a")),
        }
        wire.replies += [lambda seen: replies[seen.operation]] * 50
        (page,) = outcomes(connector, self.BOX)
        assert [one.id for one in page.upserts] == ["a"]

    @pytest.mark.parametrize("code", ["ErrorMailboxStoreUnavailable", "ErrorADUnavailable"])
    def test_a_fault_that_may_pass_is_no_refusal(self, wire: Wire, connector: EwsConnector, code: str) -> None:
        wire.reply(*[messages("SyncFolderItems", error("SyncFolderItems", code))] * 50)
        with pytest.raises(ServerFault):
            list(outcomes(connector, self.BOX))
        assert "FindItem" not in wire.operations

    @pytest.mark.parametrize("known", [{}, {"f": "s1"}], ids=["new", "read before"])
    @pytest.mark.parametrize("code", ["ErrorItemNotFound", "ErrorFolderNotFound", "ErrorSyncFolderNotFound"])
    def test_one_that_is_listed_and_whose_content_is_not_found_is_not_gone(
        self, wire: Wire, connector: EwsConnector, code: str, known: dict[str, str]
    ) -> None:
        wire.reply(messages("SyncFolderItems", error("SyncFolderItems", code)))
        with pytest.raises(ServerFault) as caught:
            list(outcomes(connector, self.BOX, known))
        assert caught.value.code == code
        assert "-DefaultPublicFolderMailbox" in caught.value.advice

    def test_one_whose_content_cannot_be_listed_is_not_gone_either(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(self.REFUSAL, messages("FindItem", error("FindItem", "ErrorItemNotFound")))
        with pytest.raises(ServerFault) as caught:
            list(outcomes(connector, self.BOX, {"f": "s1"}))
        assert "-DefaultPublicFolderMailbox" in caught.value.advice

    def test_it_is_listed_anew_when_it_changed_meanwhile(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(self.REFUSAL, found("a", "b", last=False), found("d", total=2))
        wire.reply(found("a", "c", "d"), items(*map(contact, "acd")))
        (page,) = outcomes(connector, self.BOX)
        assert [one.id for one in page.upserts] == ["a", "c", "d"]

    def test_it_ends_when_it_changes_all_the_time(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(self.REFUSAL, *[found("a", last=False), found("b", total=2)] * 5)
        with pytest.raises(ServerFault, match="faster"):
            list(outcomes(connector, self.BOX))

    def test_a_list_without_end_ends(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(self.REFUSAL, *[found("a", last=False)] * 3)
        with patch("connectors.ews.mailbox.items._PAGES", 3), pytest.raises(ProtocolViolation, match="no end"):
            list(outcomes(connector, self.BOX))

    def test_a_server_that_counts_them_and_does_not_say_which_is_the_last_is_asked_for_all(
        self, wire: Wire, connector: EwsConnector
    ) -> None:
        silent = 'IncludesLastItemInRange="true"', ""
        wire.reply(
            self.REFUSAL, found("a", "b").replace(*silent), found("c").replace(*silent), items(*map(contact, "abc"))
        )
        (page,) = outcomes(connector, self.BOX)
        assert [one.id for one in page.upserts] == ["a", "b", "c"]

    @pytest.mark.parametrize("told", [answer("FindItem", ""), found(last=False)], ids=["nothing", "an empty page"])
    def test_items_do_not_vanish_with_an_answer_that_does_not_tell_them(
        self, wire: Wire, connector: EwsConnector, told: str
    ) -> None:
        wire.reply(self.REFUSAL, found("a", "b", last=False), told, items(*map(contact, "ab")))
        with pytest.raises(ProtocolViolation, match="folder"):
            list(outcomes(connector, self.BOX))

    def test_it_is_read_in_full_each_time(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(self.REFUSAL, found("a"), items(contact("a")), found_below(folder("f", "Sales")), found_below())
        (page,) = outcomes(connector, self.BOX)
        with pytest.raises(CheckpointExpired):
            list(outcomes(connector, self.BOX, {"f": page.checkpoint}))
