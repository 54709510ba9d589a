"""Whose mailbox a request is about, and which folders a mailbox has beside those for contacts."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from lxml import etree

from tests.simulators.company.model import PUBLIC, Box, Company, ContactFolder, Item, Person, stable_id
from tests.simulators.company.records import new_box
from tests.simulators.onprem.soap import EwsError, SoapFault, T, local, value

CONTACTS = "IPF.Contact"


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox; `owner` is the person's object ID, the service account's address, or `PUBLIC`."""

    owner: str
    address: str
    box: Box


@dataclass(frozen=True, slots=True)
class FolderView:
    """A folder as clients see it; `contacts` is set for those that the company keeps."""

    id: str
    parent_id: str
    name: str
    folder_class: str
    distinguished: str = ""
    contacts: ContactFolder | None = None
    children: int = 0

    @property
    def element(self) -> str:
        """The element that stands for this kind of folder."""
        if self.folder_class.startswith(CONTACTS):
            return "ContactsFolder"
        return {"IPF.Appointment": "CalendarFolder", "IPF.Task": "TasksFolder"}.get(self.folder_class, "Folder")

    @property
    def change_key(self) -> str:
        """Differs when the folder's own properties changed."""
        return f"AwAAABYAAAD{zlib.crc32(f'{self.id}{self.name}{self.parent_id}'.encode()):08x}"


@dataclass(frozen=True, slots=True)
class DistributionList:
    """A personal distribution list: an entry of a contact folder that is no contact."""

    id: str
    display_name: str
    members: tuple[tuple[str, str], ...]  # name, address
    change_key: str = "EgAAABYAAAC00000000"


_STANDARD = (  # distinguished name, display name, class, distinguished name of the parent
    ("root", "root", "", ""),
    ("msgfolderroot", "Top of Information Store", "IPF.Note", "root"),
    ("inbox", "Inbox", "IPF.Note", "msgfolderroot"),
    ("sentitems", "Sent Items", "IPF.Note", "msgfolderroot"),
    ("drafts", "Drafts", "IPF.Note", "msgfolderroot"),
    ("outbox", "Outbox", "IPF.Note", "msgfolderroot"),
    ("junkemail", "Junk Email", "IPF.Note", "msgfolderroot"),
    ("deleteditems", "Deleted Items", "IPF.Note", "msgfolderroot"),
    ("calendar", "Calendar", "IPF.Appointment", "msgfolderroot"),
    ("tasks", "Tasks", "IPF.Task", "msgfolderroot"),
    ("notes", "Notes", "IPF.StickyNote", "msgfolderroot"),
    ("journal", "Journal", "IPF.Journal", "msgfolderroot"),
    ("searchfolders", "Finder", "", "root"),
)


def primary_address(person: Person) -> str:
    """The address a person's mailbox goes by."""
    return person.mail or person.user_principal_name


def hierarchy(mailbox: Mailbox) -> dict[str, FolderView]:
    """All folders of a mailbox by ID, parents before children."""
    views = _public(mailbox) if mailbox.owner == PUBLIC else _own(mailbox)
    counts = Counter(view.parent_id for view in views)
    return {view.id: replace(view, children=counts[view.id]) for view in views}


def _public(mailbox: Mailbox) -> list[FolderView]:
    views = []
    for folder in mailbox.box.folders.values():
        name = "" if folder.parent_id else "publicfoldersroot"
        views.append(FolderView(folder.id, folder.parent_id or "", folder.name, folder.folder_class, name, folder))
    return views


def _own(mailbox: Mailbox) -> list[FolderView]:
    ids = {name: stable_id(mailbox.owner, mailbox.address, "standard", name) for name, *_ in _STANDARD}
    views = [
        FolderView(ids[name], ids.get(parent, ""), shown, folder_class, name)
        for name, shown, folder_class, parent in _STANDARD
    ]
    pending = [(mailbox.box.default, ids["msgfolderroot"], "contacts")]
    while pending:
        folder, parent_id, distinguished = pending.pop(0)
        views.append(FolderView(folder.id, parent_id, folder.name, CONTACTS, distinguished, folder))
        pending += [(child, folder.id, "") for child in mailbox.box.children(folder.id)]
    # Outlook keeps what it has learnt of recipients in a folder that looks like one for contacts.
    cache_id = stable_id(mailbox.owner, mailbox.address, "standard", "recipientcache")
    views.append(
        FolderView(cache_id, mailbox.box.default.id, "Recipient Cache", f"{CONTACTS}.RecipientCache", "recipientcache")
    )
    return views


def below(views: dict[str, FolderView], parent_id: str) -> Iterator[FolderView]:
    """Every folder below one, however deep."""
    inside = {parent_id}
    for view in views.values():
        if view.parent_id in inside:
            inside.add(view.id)
            yield view


def distribution_list(box: Box, folder: ContactFolder) -> DistributionList | None:
    """The list that lies in the last of several folders; a mailbox with one folder has none."""
    folders = list(box.folders.values())
    if len(folders) < 2 or folder is not folders[-1]:
        return None
    members = (("Erste Adresse", "eins@verteiler.example"), ("Zweite Adresse", "zwei@verteiler.example"))
    return DistributionList(stable_id(folder.id, "list"), "Verteiler", members)


@dataclass(slots=True)
class Access:
    """Who may open what. The service account may impersonate everybody who is not denied."""

    company: Company
    service_address: str
    denied: set[str] = field(default_factory=set)
    granted: set[str] = field(default_factory=set)
    service_box: Box = field(init=False)

    def __post_init__(self) -> None:
        made = new_box("service account", self.service_address)
        self.service_box = self.company.of_services.setdefault(self.service_address, made)

    @property
    def service_mailbox(self) -> Mailbox:
        """The service account's own mailbox; nothing is in it until somebody puts it there."""
        return Mailbox(self.service_address, self.service_address, self.service_box)

    @property
    def public(self) -> Mailbox:
        """The public folders, which everybody may read."""
        return Mailbox(PUBLIC, "", self.company.public)

    def impersonated(self, named: tuple[str, str] | None) -> Mailbox:
        """The mailbox a request acts in; a fault where it may not."""
        if named is None:
            return self.service_mailbox
        kind, name = named
        if kind in {"PrimarySmtpAddress", "SmtpAddress"} and name.casefold() == self.service_address.casefold():
            return self.service_mailbox
        person = self.company.find_person(name) if "@" in name else None
        if person is None or person.box is None:
            raise SoapFault("ErrorNonExistentMailbox")
        address = primary_address(person)
        if kind == "PrimarySmtpAddress" and name.casefold() != address.casefold():
            raise SoapFault("ErrorNonPrimarySmtpAddress", values={"Primary": address})
        if address.casefold() in self.denied:
            raise SoapFault("ErrorImpersonateUserDenied")
        return Mailbox(person.object_id, address, person.box)

    def delegated(self, address: str, current: Mailbox) -> Mailbox:
        """The mailbox a folder reference names; an error where the caller has no right to it."""
        if address.casefold() == current.address.casefold():
            return current
        person = self.company.find_person(address)
        if person is None or person.box is None:
            raise EwsError("ErrorNonExistentMailbox")
        primary = primary_address(person)
        if primary.casefold() not in self.granted:
            raise EwsError("ErrorAccessDenied")
        return Mailbox(person.object_id, primary, person.box)

    def reachable(self, current: Mailbox) -> Iterator[Mailbox]:
        """The mailboxes whose IDs a request may use: its own, then those that were opened to it."""
        yield current
        yield self.public
        for address in sorted(self.granted):
            person = self.company.find_person(address)
            if person is not None and person.box is not None and person.object_id != current.owner:
                yield Mailbox(person.object_id, primary_address(person), person.box)

    def folder(self, reference: etree._Element, current: Mailbox) -> tuple[Mailbox, FolderView]:
        """The folder that a FolderId or DistinguishedFolderId names."""
        wanted = reference.get("Id", "")
        if local(reference) == "DistinguishedFolderId":
            address = value(reference, "t:Mailbox/t:EmailAddress")
            mailbox = self.delegated(address, current) if address else current
            if wanted == "publicfoldersroot":
                mailbox = self.public
            for view in hierarchy(mailbox).values():
                if view.distinguished == wanted:
                    return mailbox, view
            raise EwsError("ErrorFolderNotFound")
        for mailbox in self.reachable(current):
            found = hierarchy(mailbox).get(wanted)
            if found is not None:
                return mailbox, found
        raise EwsError("ErrorFolderNotFound" if _looks_like_id(wanted) else "ErrorInvalidIdMalformed")

    def item(self, item_id: str, current: Mailbox) -> tuple[Mailbox, ContactFolder, Item | DistributionList]:
        """The item with an ID."""
        for mailbox in self.reachable(current):
            found = mailbox.box.find(item_id)
            if found is not None:
                return mailbox, found[0], found[1]
            for folder in mailbox.box.folders.values():
                group = distribution_list(mailbox.box, folder)
                if group is not None and group.id == item_id:
                    return mailbox, folder, group
        raise EwsError("ErrorItemNotFound" if _looks_like_id(item_id) else "ErrorInvalidIdMalformed")


def _looks_like_id(identifier: str) -> bool:
    return len(identifier) >= 16


def target(element: etree._Element) -> etree._Element:
    """The reference inside an element such as SyncFolderId."""
    for child in element:
        if isinstance(child.tag, str) and child.tag in {f"{T}FolderId", f"{T}DistinguishedFolderId"}:
            return child
    raise SoapFault("ErrorInvalidRequest")
