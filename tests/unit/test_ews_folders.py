"""Contact folders, and public ones: found under their names, and none gone that is merely not told."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from connectors.ews.connector import EwsConnector
from connectors.port import CheckpointExpired, FolderGone, Mailbox, MailboxKind, Page, ProtocolViolation, ServerFault
from tests.reading import outcomes
from tests.unit.ews_mailbox import (
    ANNA,
    TOP,
    below,
    changed,
    contact,
    counted,
    folder,
    found,
    found_below,
    items,
    pull,
    said,
)
from tests.unit.ews_wire import NOBODY, Wire, answer, error, fault, messages


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


@pytest.mark.parametrize("identity", ["", '<t:FolderId Id=""/>'])
def test_a_folder_that_is_told_without_its_id_does_not_count_as_gone(
    wire: Wire, connector: EwsConnector, identity: str
) -> None:
    wire.reply(TOP, below(folder("f", "Sales", "top").replace('<t:FolderId Id="f" ChangeKey="A"/>', identity)))

    with pytest.raises(ProtocolViolation, match="without an ID"):
        pull(connector, {"top": "s1", "f": "s1"})


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
