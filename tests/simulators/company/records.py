"""What the company consists of: people, groups, mailboxes, contact folders, contacts.

Records are replaced when they change, never edited in place, so a server thread that holds one sees a consistent
state. All changes go through `tests.simulators.company.model.Company`.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

Change = tuple[int, str, str]  # sequence number, ID, "upsert" or "remove"

PUBLIC = "public"  # stands for an owner where the public folders are meant
EPOCH = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)  # when everything that was there from the start was made


def stable_id(*parts: object) -> str:
    """A server-like opaque ID (32 characters, case-sensitive) that is the same in every run."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return base64.urlsafe_b64encode(digest[:24]).decode()


@dataclass(frozen=True, slots=True)
class PostalAddress:
    """A postal address."""

    street: str = ""
    city: str = ""
    region: str = ""
    postal_code: str = ""
    country: str = ""

    def __bool__(self) -> bool:
        return bool(self.street or self.city or self.region or self.postal_code or self.country)


NO_ADDRESS = PostalAddress()


@dataclass(slots=True)
class Item:
    """One contact in a folder. `id` is the immutable ID; `change_key` differs after every change."""

    id: str
    change_key: str = "EQAAABYAAAC00000000"
    created: datetime = EPOCH
    modified: datetime = EPOCH
    display_name: str = ""
    given_name: str = ""
    middle_name: str = ""
    surname: str = ""
    title: str = ""
    generation: str = ""
    initials: str = ""
    nickname: str = ""
    company: str = ""
    department: str = ""
    job_title: str = ""
    office_location: str = ""
    profession: str = ""
    manager: str = ""
    assistant: str = ""
    email_addresses: tuple[str, ...] = ()
    business_phones: tuple[str, ...] = ()
    home_phones: tuple[str, ...] = ()
    mobile_phone: str = ""
    im_addresses: tuple[str, ...] = ()
    web_page: str = ""
    business_address: PostalAddress = NO_ADDRESS
    home_address: PostalAddress = NO_ADDRESS
    other_address: PostalAddress = NO_ADDRESS
    birthday: str = ""
    spouse: str = ""
    children: tuple[str, ...] = ()
    notes: str = ""
    photo: bytes | None = None
    private: bool = False  # Sensitivity "Private"
    # As a server showed it last, with how it was asked for: it stays so as long as the record does.
    shown: tuple[object, bytes] | None = field(default=None, init=False, repr=False, compare=False)


@dataclass(slots=True)
class ContactFolder:
    """A folder, for contacts unless its class says otherwise.

    The journal holds what happened since the start; what was there before is not in it.
    """

    id: str
    name: str
    parent_id: str | None = None  # None: the default folder
    items: dict[str, Item] = field(default_factory=dict)
    journal: list[Change] = field(default_factory=list)
    folder_class: str = "IPF.Contact"


def last_changes(journal: list[Change], sequence: int) -> list[tuple[str, str]]:
    """The last entry of each ID after `sequence`, oldest first."""
    latest: dict[str, str] = {}
    for number, identifier, what in journal:
        if number > sequence:
            latest.pop(identifier, None)
            latest[identifier] = what
    return list(latest.items())


class Box:
    """A mailbox, as far as contacts go: the default folder "Contacts" and the folders below it.

    A grown company builds the content of a mailbox when it is first looked at.
    """

    def __init__(
        self,
        folders: dict[str, ContactFolder] | None = None,
        *,
        build: Callable[[], dict[str, ContactFolder]] | None = None,
    ) -> None:
        self._folders = folders
        self._build = build
        self._lock = threading.Lock()
        self.journal: list[Change] = []  # of folders

    @property
    def folders(self) -> dict[str, ContactFolder]:
        """The folders by ID."""
        if self._folders is None:
            with self._lock:
                if self._folders is None:
                    self._folders = self._build() if self._build else {}
                    self._build = None
        return self._folders

    @property
    def default(self) -> ContactFolder:
        """The folder "Contacts"."""
        return next(folder for folder in self.folders.values() if folder.parent_id is None)

    def children(self, folder_id: str) -> list[ContactFolder]:
        """The folders right below one."""
        return [folder for folder in self.folders.values() if folder.parent_id == folder_id]

    def find(self, item_id: str) -> tuple[ContactFolder, Item] | None:
        """The item and its folder."""
        for folder in self.folders.values():
            if item_id in folder.items:
                return folder, folder.items[item_id]
        return None

    def path(self, folder_id: str) -> str:
        """The folder's name under those of its parents, joined by `/`."""
        folder = self.folders[folder_id]
        return folder.name if folder.parent_id is None else f"{self.path(folder.parent_id)}/{folder.name}"


def new_box(*seed: object) -> Box:
    """An empty mailbox with its default folder."""
    folder = ContactFolder(stable_id(*seed, "contacts"), "Contacts")
    return Box({folder.id: folder})


def public_tree() -> Box:
    """Public folders: nothing but the root of their tree."""
    root = ContactFolder(stable_id(PUBLIC, "root"), "IPM_SUBTREE", folder_class="IPF.Note")
    return Box({root.id: root})


@dataclass(slots=True)
class Person:
    """A user of the directory; `box` is None for somebody without a mailbox."""

    object_id: str
    user_principal_name: str
    mail: str | None = None
    other_addresses: tuple[str, ...] = ()
    display_name: str = ""
    given_name: str = ""
    surname: str = ""
    company: str = ""
    department: str = ""
    job_title: str = ""
    office_location: str = ""
    business_phones: tuple[str, ...] = ()
    mobile_phone: str = ""
    address: PostalAddress = NO_ADDRESS
    enabled: bool = True
    photo: bytes | None = None
    box: Box | None = None
    in_address_list: bool = True
    created: datetime = EPOCH
    is_room: bool = False


@dataclass(slots=True)
class Group:
    """A group; members are object IDs of people, of groups and of organisation contacts.

    `hidden`: only who may read hidden memberships learns the members. `dynamic`: a rule decides who is in.
    """

    object_id: str
    display_name: str
    members: tuple[str, ...] = ()
    hidden: bool = False
    dynamic: bool = False


@dataclass(slots=True)
class OrgContact:
    """Somebody outside whom the administrators keep in the directory for all; without a mailbox here."""

    object_id: str
    display_name: str = ""
    given_name: str = ""
    surname: str = ""
    mail: str = ""
    other_addresses: tuple[str, ...] = ()
    company: str = ""
    department: str = ""
    job_title: str = ""
    business_phone: str = ""
    mobile_phone: str = ""
    business_fax: str = ""
    address: PostalAddress = NO_ADDRESS
    office_location: str = ""
