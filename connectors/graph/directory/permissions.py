"""The application permissions that pulling needs, feature by feature, and what was found out about one credential's.

Sources: the "Permissions" tables of "List users", "List group transitive members", "List contactFolders", "Get
profilePhoto" and "List orgContacts" (Microsoft Graph v1.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from connectors.port import Identity

NOT_TRIED: Final = "not-tried"


class Feature(StrEnum):
    """What a tenant's sources may call for."""

    USERS = "users"
    GROUPS = "groups"
    CONTACTS = "contacts"
    PHOTOS = "photos"
    ORG_CONTACTS = "org-contacts"


NEEDS: Final[Mapping[Feature, tuple[str, ...]]] = {  # any one of them; first the one that allows least
    Feature.USERS: ("User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"),
    Feature.GROUPS: ("GroupMember.Read.All", "Group.Read.All", "Directory.Read.All", "Directory.ReadWrite.All"),
    Feature.CONTACTS: ("Contacts.Read", "Contacts.ReadWrite"),
    Feature.PHOTOS: ("ProfilePhoto.Read.All", "ProfilePhoto.ReadWrite.All", "User.Read.All", "User.ReadWrite.All"),
    Feature.ORG_CONTACTS: ("OrgContact.Read.All", "Directory.Read.All", "Directory.ReadWrite.All"),
}


@dataclass(frozen=True, slots=True)
class FeatureCheck:
    """Whether a feature works.

    Attributes:
        feature: Which.
        ok: The read was answered.
        missing: What to grant, where the token holds none of what the feature needs.
        code: The server's word for its refusal; `not-tried` where there was no mailbox to try; else empty.
    """

    feature: Feature
    ok: bool
    missing: tuple[str, ...] = ()
    code: str = ""

    @property
    def needs(self) -> tuple[str, ...]:
        """The permissions of which one is needed, the least one first."""
        return NEEDS[self.feature]


@dataclass(frozen=True, slots=True)
class Checked:
    """Whom the server took us for, and what works."""

    identity: Identity
    features: tuple[FeatureCheck, ...] = ()
