"""Odd answers about lists, aliases and public folders: nobody is invented, and no list is taken for whole."""

from __future__ import annotations

import pytest

from connectors.ews.connector import EwsConnector
from connectors.port import (
    ConnectorError,
    Mailbox,
    MailboxGone,
    MailboxKind,
    NotPermitted,
    ProtocolViolation,
    ServerFault,
    Source,
    SourceGone,
    SourceKind,
)
from tests.reading import mailboxes, outcomes
from tests.unit.ews_mailbox import counted
from tests.unit.ews_names import keys, warned
from tests.unit.ews_wire import HEAD, TAIL, Wire, answer, error, fault, messages
from tests.unit.test_ews_directory import NOBODY, TOP, entry, found

LIST = Source(SourceKind.LIST, "all@example.com")
FOLDER = Source(SourceKind.PUBLIC_FOLDER, "Sales")
DENIED = error("GetFolder", "ErrorAccessDenied")


def plain_fault(code: str) -> str:
    """A fault as grommunio words it: without a detail, and well as far as HTTP goes."""
    return f"{HEAD}<s:Fault><faultcode>{code}</faultcode><faultstring>No.</faultstring></s:Fault>{TAIL}"


def members(*pairs: tuple[str, str], whole: str = "true") -> str:
    listed = "".join(
        f"<t:Mailbox><t:Name>N</t:Name><t:EmailAddress>{address}</t:EmailAddress>"
        f"<t:RoutingType>SMTP</t:RoutingType><t:MailboxType>{kind}</t:MailboxType></t:Mailbox>"
        for address, kind in pairs
    )
    return answer("ExpandDL", f'<m:DLExpansion IncludesLastItemInRange="{whole}">{listed}</m:DLExpansion>')


class TestMembers:
    @pytest.mark.parametrize("unknown", [fault("ErrorNonExistentMailbox"), plain_fault("ErrorCannotFindUser")])
    def test_a_member_that_nobody_knows_is_told_as_not_found(
        self, wire: Wire, connector: EwsConnector, unknown: str
    ) -> None:
        wire.reply(members(("ghost@example.com", "Mailbox"), ("anna@example.com", "Mailbox")))
        wire.reply(NOBODY, NOBODY, unknown, found(entry("anna@example.com", "Anna")))
        ghost, anna = connector.resolve(LIST)
        assert (ghost.mailbox.key, type(ghost.error)) == ("ghost@example.com", MailboxGone)
        assert (anna.mailbox.key, anna.error) == ("anna@example.com", None)

    @pytest.mark.parametrize("kind", ["Contact", "PrivateDL", "OneOff", "PublicFolder"])
    def test_what_is_no_mailbox_here_is_not_even_looked_up(
        self, wire: Wire, connector: EwsConnector, kind: str
    ) -> None:
        wire.reply(members(("out@partner.example", kind)))
        assert keys(connector, LIST) == []
        assert wire.operations == ["ExpandDL"]

    def test_a_member_by_an_alias_and_by_the_primary_address_is_one(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(members(("a.m@example.com", "Mailbox"), ("anna@example.com", "Mailbox")))
        known = found(entry("anna@example.com", "Anna", "SMTP:anna@example.com smtp:a.m@example.com"))
        wire.reply(NOBODY, known, known)
        assert keys(connector, LIST) == ["anna@example.com"]

    def test_a_list_below_that_is_gone_takes_nobody_with_it(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(members(("gone@example.com", "PublicDL"), ("anna@example.com", "Mailbox")))
        wire.reply(
            found(entry("anna@example.com", "Anna")),
            messages("ExpandDL", error("ExpandDL", "ErrorNameResolutionNoResults")),
        )
        assert keys(connector, LIST) == ["anna@example.com"]

    @pytest.mark.parametrize(
        ("said", "raised"),
        [
            (messages("ExpandDL", error("ExpandDL", "ErrorNameResolutionNoResults")), SourceGone),
            (fault("ErrorNameResolutionNoMailbox"), SourceGone),
            (fault("ErrorInvalidSmtpAddress"), SourceGone),
            (fault("ErrorAccessDenied"), NotPermitted),
            (warned("ExpandDL"), SourceGone),
        ],
    )
    def test_a_list_that_is_not_told_fails(
        self, wire: Wire, connector: EwsConnector, said: str, raised: type[ConnectorError]
    ) -> None:
        wire.reply(said)
        with pytest.raises(raised):
            keys(connector, LIST)

    @pytest.mark.parametrize(
        "told",
        [
            members(("a@example.com", "Mailbox"), whole="false"),
            members(("a@example.com", "Mailbox")).replace('IncludesLastItemInRange="true"', 'TotalItemsInView="2"'),
            answer("ExpandDL", ""),
        ],
        ids=["not to its end", "one of two", "not at all"],
    )
    def test_a_list_that_is_told_in_part_fails(self, wire: Wire, connector: EwsConnector, told: str) -> None:
        wire.reply(told)
        with pytest.raises(ProtocolViolation, match="all members"):
            keys(connector, LIST)

    def test_lists_in_each_other_are_asked_for_once(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(members(("ALL@example.com", "PublicDL"), ("sales@example.com", "PublicDL")))
        wire.reply(members(("all@example.com", "PublicDL"), ("Sales@example.com", "PublicDL")))
        assert keys(connector, LIST) == []
        assert wire.operations == ["ExpandDL", "ExpandDL"]

    def test_a_member_whom_the_directory_calls_somebody_outside_is_one(
        self, wire: Wire, connector: EwsConnector
    ) -> None:
        wire.reply(members(("anna@example.com", "Mailbox")))
        wire.reply(found(entry("anna@example.com", "Anna").replace(">Mailbox<", ">Contact<")))
        assert keys(connector, LIST) == []

    def test_a_directory_that_is_closed_hides_no_member(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(members(("anna@example.com", "Mailbox")), fault("ErrorAccessDenied"), TOP)
        assert keys(connector, LIST) == ["anna@example.com"]


class TestAliases:
    def test_the_primary_address_that_the_server_names_is_kept(self, wire: Wire, connector: EwsConnector) -> None:
        named = fault("ErrorNonPrimarySmtpAddress", '<t:Value Name="Primary">Anna@example.com</t:Value>')
        wire.reply(NOBODY, NOBODY, named, TOP)
        assert list(mailboxes(connector, Source(SourceKind.MAILBOX, "alias@example.com"))) == [
            Mailbox("anna@example.com", "Anna@example.com")
        ]

    @pytest.mark.parametrize("directory", [(NOBODY, NOBODY), (fault("ErrorAccessDenied"),)], ids=["hidden", "closed"])
    @pytest.mark.parametrize(
        ("code", "raised"), [("ErrorMailboxMoveInProgress", ServerFault), ("ErrorImpersonateUserDenied", NotPermitted)]
    )
    def test_while_nobody_says_whose_it_is_it_is_not_taken_for_another_mailbox(
        self,
        wire: Wire,
        connector: EwsConnector,
        directory: tuple[str, ...],
        code: str,
        raised: type[ConnectorError],
    ) -> None:
        wire.reply(*directory, fault(code))
        with pytest.raises(raised):
            list(mailboxes(connector, Source(SourceKind.MAILBOX, "alias@example.com")))


def folder(identifier: str, name: str, kind: str = "IPF.Contact") -> str:
    return (
        f'<t:Folder><t:FolderId Id="{identifier}"/><t:FolderClass>{kind}</t:FolderClass>'
        f"<t:DisplayName>{name}</t:DisplayName></t:Folder>"
    )


def level(*folders: str, last: str = "true") -> str:
    root = f'<m:RootFolder IndexedPagingOffset="{len(folders)}" IncludesLastItemInRange="{last}">'
    return f"{root}<t:Folders>{''.join(folders)}</t:Folders></m:RootFolder>"


class TestPublicFolders:
    BOX = Mailbox("\\sales", "Sales", kind=MailboxKind.PUBLIC_FOLDER)

    def test_levels_are_asked_for_together(self, wire: Wire, connector: EwsConnector) -> None:
        top = answer("FindFolder", level(folder("1", "Sales", "IPF.Note"), folder("x", "Other")))
        two = answer("FindFolder", level(folder("2", "North"), folder("3", "South")))
        below = answer("FindFolder", level(folder("4", "Pole")), level())
        gone = messages("FindFolder", error("FindFolder", "ErrorItemNotFound"))
        state = "<m:SyncState>s</m:SyncState><m:IncludesLastItemInRange>true</m:IncludesLastItemInRange><m:Changes/>"
        wire.reply(top, two, below, gone, *[answer("SyncFolderItems", state)] * 3)
        pages = list(outcomes(connector, self.BOX))
        assert [page.folder.path for page in pages] == ["Sales/North", "Sales/South", "Sales/North/Pole"]  # type: ignore[union-attr]
        assert wire.operations[:4] == ["FindFolder"] * 4
        assert wire.seen[2].find("//t:FolderId/@Id") == ["2", "3"]
        assert {request.find("string(//m:FindFolder/@Traversal)") for request in wire.seen[:4]} == {"Shallow"}
        assert not any(request.find("//t:ExchangeImpersonation") for request in wire.seen)

    def test_a_server_that_takes_one_parent_at_a_time_is_asked_so(self, wire: Wire, connector: EwsConnector) -> None:
        top = answer("FindFolder", level(folder("1", "Sales", "IPF.Note")))
        two = answer("FindFolder", level(folder("2", "North", "IPF.Note"), folder("3", "South", "IPF.Note")))
        nothing = answer("FindFolder", level())
        wire.reply(top, two, nothing, nothing, nothing)
        assert list(outcomes(connector, self.BOX)) == []

    def test_lists_that_are_left_out_are_empty_by_the_servers_own_count(
        self, wire: Wire, connector: EwsConnector
    ) -> None:
        top = answer("FindFolder", level(folder("1", "Sales", "IPF.Note")))
        two = answer("FindFolder", level(folder("2", "North", "IPF.Note"), folder("3", "South", "IPF.Note")))
        wire.reply(top, two, answer("FindFolder", "", ""), counted("0", "0"))
        assert list(outcomes(connector, self.BOX)) == []
        assert wire.seen[3].find("//t:FolderId/@Id") == ["2", "3"]

    @pytest.mark.parametrize("count", [counted("0", "2"), counted("0"), messages("GetFolder", DENIED, DENIED)])
    def test_a_list_that_is_left_out_for_another_reason_takes_no_folder_away(
        self, wire: Wire, connector: EwsConnector, count: str
    ) -> None:
        top = answer("FindFolder", level(folder("1", "Sales", "IPF.Note")))
        two = answer("FindFolder", level(folder("2", "North", "IPF.Note"), folder("3", "South", "IPF.Note")))
        wire.reply(top, two, answer("FindFolder", "", ""), count)
        with pytest.raises(ProtocolViolation, match="folders"):
            list(outcomes(connector, self.BOX))

    def test_a_house_whose_tree_is_empty_has_nothing_at_the_path(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(answer("FindFolder", ""), counted("0"))
        with pytest.raises(SourceGone):
            keys(connector, FOLDER)
        assert wire.seen[1].find("//t:DistinguishedFolderId/@Id") == ["publicfoldersroot"]

    def test_more_folders_than_a_page_come_whole(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(answer("FindFolder", level(folder("x", "Other"), last="false")))
        wire.reply(answer("FindFolder", level(folder("1", "Sales", "IPF.Note"))))
        assert keys(connector, FOLDER) == ["\\sales"]
        assert wire.seen[1].find("string(//m:IndexedPageFolderView/@Offset)") == "1"

    def test_a_list_of_folders_that_goes_round_in_circles_ends(self, wire: Wire, connector: EwsConnector) -> None:
        wire.replies += [answer("FindFolder", level(folder("x", "Other"), last="false"))] * 9
        with pytest.raises(ProtocolViolation, match="advance"):
            keys(connector, FOLDER)

    def test_a_folder_below_itself_is_read_once(self, wire: Wire, connector: EwsConnector) -> None:
        own = answer("FindFolder", level(folder("1", "Sales", "IPF.Note")))
        wire.reply(own, own)
        assert list(outcomes(connector, self.BOX)) == []
        assert wire.replies == []

    def test_a_tree_that_grows_while_it_is_climbed_ends(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(answer("FindFolder", level(folder("0", "Sales", "IPF.Note"))))
        wire.reply(*(answer("FindFolder", level(folder(str(deep), "x", "IPF.Note"))) for deep in range(1, 400)))
        with pytest.raises(ProtocolViolation, match="no end"):
            list(outcomes(connector, self.BOX))

    @pytest.mark.parametrize("code", ["ErrorFolderNotFound", "ErrorItemNotFound"])
    def test_a_house_without_public_folders_has_none_at_the_path(
        self, wire: Wire, connector: EwsConnector, code: str
    ) -> None:
        wire.reply(messages("FindFolder", error("FindFolder", code)))
        with pytest.raises(SourceGone):
            keys(connector, FOLDER)

    def test_a_service_account_without_a_mailbox_is_told_so(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(fault("ErrorMissingEmailAddress"))
        with pytest.raises(NotPermitted) as caught:
            keys(connector, FOLDER)
        assert "mailbox" in caught.value.advice

    def test_a_folder_that_the_account_may_not_read_is_told_with_the_command_that_opens_it(
        self, wire: Wire, connector: EwsConnector
    ) -> None:
        denied = messages("FindFolder", error("FindFolder", "ErrorAccessDenied"))
        wire.reply(denied, answer("FindFolder", level(folder("1", "Sales"))), denied)
        for read in (lambda: keys(connector, FOLDER), lambda: list(outcomes(connector, self.BOX))):
            with pytest.raises(NotPermitted) as caught:
                read()
            assert r"Add-PublicFolderClientPermission -Identity \PATH" in caught.value.advice

    def test_a_path_that_went_is_told_with_what_to_do(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(answer("FindFolder", level()))
        with pytest.raises(MailboxGone) as caught:
            list(outcomes(connector, self.BOX))
        assert "path" in caught.value.advice
        assert wire.operations == ["FindFolder"]  # and nobody looks it up as a person
