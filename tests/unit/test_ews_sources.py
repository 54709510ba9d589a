"""Odd answers of a directory: nobody is invented, nobody who is there is missed, and no list is taken for whole."""

from __future__ import annotations

import pytest
from lxml import etree

from connectors.contact import PostalAddress
from connectors.ews.connector import EwsConnector
from connectors.ews.directory.personas import addresses_of, card_from, is_person
from connectors.ews.wire.operations import TYPES
from connectors.ews.wire.session import ANSWER_LIMIT
from connectors.port import (
    ConnectorError,
    CredentialRejected,
    Mailbox,
    MailboxGone,
    MailboxKind,
    NotPermitted,
    ProtocolViolation,
    ServerFault,
    Source,
    SourceGone,
    SourceKind,
    Throttled,
)
from tests.reading import mailboxes, outcomes
from tests.unit.ews_mailbox import counted
from tests.unit.ews_wire import HEAD, TAIL, Seen, Wire, answer, error, fault, messages
from tests.unit.test_ews_directory import NOBODY, TOP, entry, found

GAL = Source(SourceKind.GAL)
LIST = Source(SourceKind.LIST, "all@example.com")
FOLDER = Source(SourceKind.PUBLIC_FOLDER, "Sales")
NO_PEOPLE = fault("ErrorInvalidOperation")
DENIED = error("GetFolder", "ErrorAccessDenied")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.-_'+&@"


def plain_fault(code: str) -> str:
    """A fault as grommunio words it: without a detail, and well as far as HTTP goes."""
    return f"{HEAD}<s:Fault><faultcode>{code}</faultcode><faultstring>No.</faultstring></s:Fault>{TAIL}"


def warned(operation: str) -> str:
    """That there is nobody, where the server calls that no error."""
    nobody = error(operation, "ErrorNameResolutionNoResults")
    return messages(operation, nobody.replace('"Error"', '"Warning"'))


def persona(address: str, kind: str = "Person", more: str = "") -> str:
    whole = f"<t:Name>N</t:Name><t:EmailAddress>{address}</t:EmailAddress><t:RoutingType>SMTP</t:RoutingType>"
    return (
        f'<t:Persona><t:PersonaId Id="{address}"/><t:PersonaType>{kind}</t:PersonaType><t:DisplayName>N</t:DisplayName>'
        f"<t:EmailAddress>{whole}</t:EmailAddress>{more}</t:Persona>"
    )


def people(*personas: str, total: int | None = None) -> str:
    counted = "" if total is None else f"<m:TotalNumberOfPeopleInView>{total}</m:TotalNumberOfPeopleInView>"
    return (
        f'{HEAD}<m:FindPeopleResponse ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>'
        f"<m:People>{''.join(personas)}</m:People>{counted}</m:FindPeopleResponse>{TAIL}"
    )


def members(*pairs: tuple[str, str], whole: str = "true") -> str:
    listed = "".join(
        f"<t:Mailbox><t:Name>N</t:Name><t:EmailAddress>{address}</t:EmailAddress>"
        f"<t:RoutingType>SMTP</t:RoutingType><t:MailboxType>{kind}</t:MailboxType></t:Mailbox>"
        for address, kind in pairs
    )
    return answer("ExpandDL", f'<m:DLExpansion IncludesLastItemInRange="{whole}">{listed}</m:DLExpansion>')


def keys(connector: EwsConnector, source: Source) -> list[str]:
    return [mailbox.key for mailbox in mailboxes(connector, source)]


def resolving(*resolutions: tuple[str, str], whole: str = "true") -> str:
    text = found(*(entry(address, name) for address, name in resolutions))
    return text.replace('TotalItemsInView="1"', f'IncludesLastItemInRange="{whole}"')


def by_beginning(*known: str, most: int = 2) -> object:
    """A directory that answers to the beginning of an address, `most` at once."""

    def reply(seen: Seen) -> str:
        beginning = seen.find("string(//m:UnresolvedEntry)")
        hits = [address for address in known if address.startswith(beginning)]
        shown = [(address, f"{address} by name") for address in hits[:most]]
        return resolving(*shown, whole="false" if len(hits) > most else "true") if hits else NOBODY

    return reply


class TestBrowsing:
    def test_pages_follow_each_other_to_the_number_that_is_told(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(
            people(persona("a@x.example"), persona("b@x.example"), total=3), people(persona("c@x.example"), total=3)
        )
        assert keys(connector, GAL) == ["a@x.example", "b@x.example", "c@x.example"]
        assert wire.seen[1].find("string(//m:IndexedPageItemView/@Offset)") == "2"
        assert not wire.seen[0].find("//t:ExchangeImpersonation")

    def test_where_no_number_is_told_a_short_page_is_not_the_last(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(people(persona("a@x.example")), people(persona("b@x.example")), people())
        assert keys(connector, GAL) == ["a@x.example", "b@x.example"]

    @pytest.mark.parametrize("kind", ["DistributionList", "Room", "ModernGroup"])
    def test_what_is_nobody_is_left_out(self, wire: Wire, connector: EwsConnector, kind: str) -> None:
        wire.reply(people(persona("a@x.example"), persona("b@x.example", kind), total=2))
        assert keys(connector, GAL) == ["a@x.example"]

    @pytest.mark.parametrize(
        "second", [people(total=3), people(persona("a@x.example"), total=3)], ids=["ends early", "does not advance"]
    )
    def test_a_list_that_cannot_be_whole_is_searched_instead(
        self, wire: Wire, connector: EwsConnector, second: str
    ) -> None:
        wire.reply(people(persona("a@x.example"), total=3), second)
        wire.replies += [by_beginning("a@x.example", "z@x.example")] * 42
        assert keys(connector, GAL) == ["a@x.example", "z@x.example"]

    @pytest.mark.parametrize(("code", "raised"), [("ErrorServerBusy", Throttled), ("ErrorADUnavailable", ServerFault)])
    def test_a_busy_directory_is_not_taken_for_one_that_cannot_be_browsed(
        self, wire: Wire, connector: EwsConnector, code: str, raised: type[ConnectorError]
    ) -> None:
        wire.replies += [fault(code)] * 50
        with pytest.raises(raised):
            keys(connector, GAL)
        *asked, looked = wire.operations
        assert set(asked) == {"FindPeople"}
        assert looked == "ResolveNames"  # whether anything is answered at all

    @pytest.mark.parametrize("code", ["ErrorInternalServerError", "ErrorInvalidOperation", "ErrorAccessDenied"])
    def test_a_directory_that_cannot_be_browsed_is_searched_whatever_it_calls_that(
        self, wire: Wire, connector: EwsConnector, code: str
    ) -> None:
        def refuse_to_browse(seen: Seen) -> object:
            return fault(code) if seen.operation == "FindPeople" else by_beginning("a@x.example")(seen)  # type: ignore[operator]

        wire.replies += [refuse_to_browse] * 60
        assert keys(connector, GAL) == ["a@x.example"]

    def test_a_refused_credential_ends_it(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply((401, {}, ""))
        with pytest.raises(CredentialRejected):
            keys(connector, GAL)
        assert len(wire.seen) == 1


class TestSearching:
    def test_a_beginning_that_too_many_share_is_made_longer(self, wire: Wire, connector: EwsConnector) -> None:
        everybody = [f"{name}@x.example" for name in ("ann", "anna", "anna.b", "ann-k", "bob", "a'b", "7of9")]
        wire.reply(people())  # nothing, although there is somebody
        wire.replies += [by_beginning(*everybody)] * 400
        assert sorted(keys(connector, GAL)) == sorted(everybody)

    def test_where_the_server_looks_at_addresses_alone_names_cost_no_requests(
        self, wire: Wire, connector: EwsConnector
    ) -> None:
        everybody = {f"{letter}{number}@x.example": "smith" for letter in "abs" for number in range(3)}

        def reply(seen: Seen) -> str:
            beginning = seen.find("string(//m:UnresolvedEntry)")
            by_name = [one for one, name in everybody.items() if name.startswith(beginning)]
            begins = beginning.removeprefix("smtp:")
            hits = list(dict.fromkeys(by_name + [one for one in everybody if one.startswith(begins)]))
            shown = [(one, everybody[one]) for one in hits[:3]]
            return resolving(*shown, whole="false" if len(hits) > 3 else "true") if hits else NOBODY

        wire.reply(people())
        wire.replies += [reply] * 100
        assert sorted(keys(connector, GAL)) == sorted(everybody)
        # The people of `s` are more than are told at once by their names, and not by their addresses.
        assert len(wire.seen) == 1 + len(LETTERS) - 1 + len(["whether schemes help", "smtp:s"])

    def test_a_server_that_finds_whole_addresses_alone_is_asked_without_a_scheme(
        self, wire: Wire, connector: EwsConnector
    ) -> None:
        everybody = [f"a{letter}@x.example" for letter in "abc"]

        def reply(seen: Seen) -> object:
            beginning = seen.find("string(//m:UnresolvedEntry)")
            whole = beginning.removeprefix("smtp:") if beginning.startswith("smtp:") else ""
            return resolving((whole, "A")) if whole in everybody else by_beginning(*everybody)(seen)  # type: ignore[operator]

        wire.reply(people())
        wire.replies += [reply] * 100
        assert sorted(keys(connector, GAL)) == everybody

    def test_a_hundred_are_never_taken_for_all(self, wire: Wire, connector: EwsConnector) -> None:
        hundred = resolving(*((f"a{number}@x.example", "A") for number in range(100)))
        wire.reply(NO_PEOPLE, hundred)
        wire.replies += [NOBODY] * 100
        assert len(keys(connector, GAL)) == 100
        asked = [
            request.find("string(//m:UnresolvedEntry)") for request in wire.seen if request.operation == "ResolveNames"
        ]
        assert asked[:4] == ["a", "smtp:a", "aa", "ab"]
        assert wire.seen[-1].find("string(//t:RequestServerVersion/@Version)") == "Exchange2016"

    def test_more_than_a_hundred_are_all_where_the_server_says_so(self, wire: Wire, connector: EwsConnector) -> None:
        names = [f"a{number}@x.example" for number in range(101)]
        wire.reply(NO_PEOPLE, resolving(*((name, "A") for name in names)))
        wire.replies += [NOBODY] * (len(LETTERS) - 1)
        assert keys(connector, GAL) == names

    @pytest.mark.parametrize("said", ['IncludesLastItemInRange="false"', 'TotalItemsInView="2"'])
    def test_people_who_are_counted_and_not_told_are_searched_for(
        self, wire: Wire, connector: EwsConnector, said: str
    ) -> None:
        whole = 'IncludesLastItemInRange="true"'
        wire.reply(NO_PEOPLE, resolving(("ab@x.example", "A")).replace(whole, said), NOBODY)
        wire.replies += [NOBODY] * len(LETTERS)
        wire.reply(resolving(("ab@x.example", "A")), *[NOBODY] * len(LETTERS))
        assert keys(connector, GAL) == ["ab@x.example"]
        words = [request.find("string(//m:UnresolvedEntry)") for request in wire.seen[1:5]]
        assert words == ["a", "smtp:a", "aa", "ab"]

    def test_nobody_may_be_a_warning(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(NO_PEOPLE, *[warned("ResolveNames")] * len(LETTERS))
        assert keys(connector, GAL) == []

    def test_an_answer_that_tells_neither_people_nor_that_there_are_none_is_not_taken_for_nobody(
        self, wire: Wire, connector: EwsConnector
    ) -> None:
        wire.reply(NO_PEOPLE)
        wire.replies += [answer("ResolveNames", "")] * 100
        with pytest.raises(ServerFault) as caught:
            keys(connector, GAL)
        assert caught.value.code == "address-list-cut-off"

    def test_a_server_that_never_tells_all_is_a_failure_not_a_loop(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(people())
        wire.replies += [resolving(("a@x.example", "A"), whole="false")] * 5_000
        with pytest.raises(ServerFault) as caught:
            keys(connector, GAL)
        assert caught.value.code == "address-list-cut-off"

    def test_an_answer_too_large_to_hold_is_asked_for_in_parts(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(people(), f"{HEAD}{' ' * (ANSWER_LIMIT + 1)}{TAIL}")
        wire.replies += [by_beginning("anna@x.example", "bo@x.example")] * 100
        assert sorted(keys(connector, GAL)) == ["anna@x.example", "bo@x.example"]

    def test_groups_are_no_people_and_people_outside_are(self, wire: Wire, connector: EwsConnector) -> None:
        def typed(kind: str) -> str:
            return entry(f"{kind}@x.example".lower(), kind).replace(">Mailbox<", f">{kind}<")

        wire.reply(people(), found(typed("Mailbox"), typed("Contact"), typed("PublicDL"), typed("PublicFolder")))
        wire.replies += [NOBODY] * 100
        assert keys(connector, GAL) == ["mailbox@x.example", "contact@x.example"]

    def test_an_entry_with_an_internal_address_is_known_by_its_primary_one(
        self, wire: Wire, connector: EwsConnector
    ) -> None:
        internal = entry("/o=EXAMPLE/cn=anna", "Anna", "smtp:a@x.example SMTP:anna@x.example").replace(">SMTP<", ">EX<")
        wire.reply(people(), found(internal))
        wire.replies += [NOBODY] * 100
        assert keys(connector, GAL) == ["anna@x.example"]


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


class TestPersonas:
    @staticmethod
    def of(inner: str) -> etree._Element:
        return etree.fromstring(f'<t:Persona xmlns:t="{TYPES}">{inner}</t:Persona>')

    def test_lists_of_values_stand_in_for_single_ones(self) -> None:
        def listed(name: str, kind: str, value: str) -> str:
            return f"<t:{name}><t:{kind}><t:Value>{value}</t:Value></t:{kind}></t:{name}>"

        card = card_from(
            self.of(
                listed("DisplayNames", "StringAttributedValue", "Anna")
                + listed("Titles", "StringAttributedValue", "Lead")
                + listed("MobilePhones", "PhoneNumberAttributedValue", "<t:Number>1</t:Number><t:Type>Mobile</t:Type>")
                + listed("BusinessPhoneNumbers2", "PhoneNumberAttributedValue", "<t:Number>2</t:Number>")
                + listed("BusinessAddresses", "PostalAddressAttributedValue", "<t:City>Bonn</t:City>")
                + listed("ImAddresses", "StringAttributedValue", "sip:anna@x.example")
            )
        )
        assert (card.display_name, card.job_title, card.mobile_phone) == ("Anna", "Lead", "1")
        assert (card.business_phones, card.business_address) == (("2",), PostalAddress(city="Bonn"))
        assert card.im_addresses == ("sip:anna@x.example",)

    def test_addresses_come_once_with_the_primary_one_first(self) -> None:
        def address(tag: str, text: str, routing: str = "SMTP") -> str:
            whole = f"<t:EmailAddress>{text}</t:EmailAddress><t:RoutingType>{routing}</t:RoutingType>"
            return f"<t:{tag}>{whole}</t:{tag}>"

        listed = (
            address("Address", "b@x.example") + address("Address", "a@x.example") + address("Address", "/o=x", "EX")
        )
        value = address("Value", "c@x.example")
        more = f"<t:Emails1><t:EmailAddressAttributedValue>{value}</t:EmailAddressAttributedValue></t:Emails1>"
        whole = f"{address('EmailAddress', 'a@x.example')}<t:EmailAddresses>{listed}</t:EmailAddresses>{more}"
        assert addresses_of(self.of(whole)) == ("a@x.example", "b@x.example", "c@x.example")

    def test_a_persona_of_no_known_type_is_a_person(self) -> None:
        assert is_person(self.of(""))
