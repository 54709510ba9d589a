"""What a contact looks like on the wire: one line per property, in the order of the schema."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from tests.simulators.company.model import Item, PostalAddress
from tests.simulators.onprem import extended
from tests.simulators.onprem.soap import text

NO_CHANGE_KEY = "EgAAABYAAAC00000000"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The properties a request asks for."""

    names: frozenset[str] = frozenset()  # FieldURIs of whole properties
    indexed: dict[str, frozenset[str]] = field(default_factory=dict)  # FieldURI to the keys asked for
    extended: tuple[tuple[tuple[str, str], ...], ...] = ()  # attributes of ExtendedFieldURI elements
    body_type: str = "Best"
    renderers: tuple[Renderer, ...] = ()


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file on an item, without its content."""

    id: str
    name: str
    content_type: str
    size: int
    modified: datetime
    is_photo: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A contact with all that is known of it beside the company's record."""

    item: Item
    folder_id: str = ""
    attachments: tuple[Attachment, ...] = ()
    extended: dict[tuple[tuple[str, str], ...], str] = field(default_factory=dict)
    directory: dict[str, str] = field(default_factory=dict)  # only for entries of the address list


Renderer = Callable[[Entry, Wanted], str]


def change_key(item: Item) -> str:
    """An item's change key; what nobody has touched yet has one too."""
    return item.change_key or NO_CHANGE_KEY


def stamp(moment: datetime) -> str:
    """A date and time as Exchange writes them."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _simple(name: str, content: str) -> str:
    return f"<t:{name}>{text(content)}</t:{name}>" if content else ""


def _text(name: str, attribute: str) -> Renderer:
    return lambda entry, _: _simple(name, getattr(entry.item, attribute))


def _constant(name: str, content: str) -> Renderer:
    return lambda entry, _: "" if entry.directory else f"<t:{name}>{content}</t:{name}>"


def _directory(name: str) -> Renderer:
    return lambda entry, _: _simple(name, entry.directory.get(name, ""))


def _parent(entry: Entry, _: Wanted) -> str:
    return f'<t:ParentFolderId Id="{text(entry.folder_id)}" ChangeKey="AQAAAA=="/>' if entry.folder_id else ""


def _sensitivity(entry: Entry, _: Wanted) -> str:
    return f"<t:Sensitivity>{'Private' if entry.item.private else 'Normal'}</t:Sensitivity>"


def _body(entry: Entry, wanted: Wanted) -> str:
    notes = entry.item.notes
    if wanted.body_type == "HTML":
        page = f"<html><body><pre>{text(notes)}</pre></body></html>" if notes else ""
        return f'<t:Body BodyType="HTML">{text(page)}</t:Body>'
    return f'<t:Body BodyType="Text">{text(notes)}</t:Body>'


def _text_body(entry: Entry, _: Wanted) -> str:
    return f'<t:TextBody BodyType="Text">{text(entry.item.notes)}</t:TextBody>'


def attachment_head(attachment: Attachment) -> str:
    """The properties of an attachment up to where its content would stand."""
    photo = "<t:IsContactPhoto>true</t:IsContactPhoto>" if attachment.is_photo else ""
    return (
        f'<t:AttachmentId Id="{text(attachment.id)}"/><t:Name>{text(attachment.name)}</t:Name>'
        f"<t:ContentType>{text(attachment.content_type)}</t:ContentType><t:Size>{attachment.size}</t:Size>"
        f"<t:LastModifiedTime>{stamp(attachment.modified)}</t:LastModifiedTime><t:IsInline>false</t:IsInline>"
        f"{photo or '<t:IsContactPhoto>false</t:IsContactPhoto>'}"
    )


def _attachments(entry: Entry, _: Wanted) -> str:
    heads = "".join(f"<t:FileAttachment>{attachment_head(a)}</t:FileAttachment>" for a in entry.attachments)
    return f"<t:Attachments>{heads}</t:Attachments>" if heads else ""


def _has_attachments(entry: Entry, _: Wanted) -> str:
    return f"<t:HasAttachments>{'true' if entry.attachments else 'false'}</t:HasAttachments>"


def _extended(entry: Entry, wanted: Wanted) -> str:
    return "".join(extended.element(key, extended.read(entry, key)) for key in wanted.extended)


def _file_as(entry: Entry, _: Wanted) -> str:
    item = entry.item
    given = entry.extended.get(extended.FILE_AS, "")
    joined = f"{item.surname}, {item.given_name}" if item.surname and item.given_name else item.display_name
    return _simple("FileAs", given or joined or item.company)


def _complete_name(entry: Entry, _: Wanted) -> str:
    item = entry.item
    parts = (
        ("Title", item.title),
        ("FirstName", item.given_name),
        ("MiddleName", item.middle_name),
        ("LastName", item.surname),
        ("Suffix", item.generation),
        ("Initials", item.initials),
        ("FullName", item.display_name),
        ("Nickname", item.nickname),
    )
    inner = "".join(_simple(name, content) for name, content in parts)
    return f"<t:CompleteName>{inner}</t:CompleteName>" if inner else ""


def _dictionary(
    name: str, uri: str, keys: Callable[[Entry], list[tuple[str, str]]], attributes: str = ""
) -> dict[str, Renderer]:
    def render(entry: Entry, wanted: Wanted) -> str:
        whole = f"contacts:{name}" in wanted.names
        asked = wanted.indexed.get(uri, frozenset())
        extra = ' Name="" RoutingType="SMTP" MailboxType="Mailbox"' if entry.directory and attributes else attributes
        inner = "".join(
            f'<t:Entry Key="{key}"{extra}>{text(content)}</t:Entry>'
            for key, content in keys(entry)
            if content and (whole or key in asked)
        )
        return f"<t:{name}>{inner}</t:{name}>" if inner else ""

    return {f"contacts:{name}": render}


def _numbered(prefix: str, values: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(f"{prefix}{number}", content) for number, content in enumerate(values[:3], start=1)]


def _phones(entry: Entry) -> list[tuple[str, str]]:
    item = entry.item
    named = [
        (("BusinessPhone", "BusinessPhone2"), item.business_phones),
        (("HomePhone", "HomePhone2"), item.home_phones),
    ]
    pairs = [pair for keys, numbers in named for pair in zip(keys, numbers, strict=False)]
    known = [*pairs, ("MobilePhone", item.mobile_phone)]
    if not entry.extended:
        return known
    others = extended.OTHER_PHONES.items()
    return [*known, *((key, entry.extended.get(extended.key_of_tag(tag), "")) for key, tag in others)]


ADDRESS_PARTS = (
    ("Street", "street"),
    ("City", "city"),
    ("State", "region"),
    ("CountryOrRegion", "country"),
    ("PostalCode", "postal_code"),
)


def _addresses(entry: Entry, wanted: Wanted) -> str:
    kinds = (
        ("Business", entry.item.business_address),
        ("Home", entry.item.home_address),
        ("Other", entry.item.other_address),
    )
    inner = "".join(_address(kind, address, wanted) for kind, address in kinds)
    return f"<t:PhysicalAddresses>{inner}</t:PhysicalAddresses>" if inner else ""


def _address(kind: str, address: PostalAddress, wanted: Wanted) -> str:
    whole = "contacts:PhysicalAddresses" in wanted.names
    inner = "".join(
        _simple(name, getattr(address, part))
        for name, part in ADDRESS_PARTS
        if whole or kind in wanted.indexed.get(f"contacts:PhysicalAddress:{name}", frozenset())
    )
    return f'<t:Entry Key="{kind}">{inner}</t:Entry>' if inner else ""


def _birthday(entry: Entry, _: Wanted) -> str:
    return _simple("Birthday", f"{entry.item.birthday}T11:59:00Z" if entry.item.birthday else "")


def _children(entry: Entry, _: Wanted) -> str:
    inner = "".join(f"<t:String>{text(child)}</t:String>" for child in entry.item.children)
    return f"<t:Children>{inner}</t:Children>" if inner else ""


def _companies(entry: Entry, _: Wanted) -> str:
    company = entry.item.company
    return f"<t:Companies><t:String>{text(company)}</t:String></t:Companies>" if company else ""


def _has_picture(entry: Entry, _: Wanted) -> str:
    return f"<t:HasPicture>{'true' if entry.item.photo else 'false'}</t:HasPicture>"


def _size(entry: Entry, _: Wanted) -> str:
    return f"<t:Size>{1200 + len(entry.item.notes) + sum(a.size for a in entry.attachments)}</t:Size>"


FIELDS: dict[str, Renderer] = {
    "item:ParentFolderId": _parent,
    "item:ItemClass": _constant("ItemClass", "IPM.Contact"),
    "item:Subject": _text("Subject", "display_name"),
    "item:Sensitivity": _sensitivity,
    "item:Body": _body,
    "item:Attachments": _attachments,
    "item:DateTimeReceived": lambda e, _: _simple("DateTimeReceived", stamp(e.item.created)),
    "item:Size": _size,
    "item:Importance": _constant("Importance", "Normal"),
    "item:IsSubmitted": _constant("IsSubmitted", "false"),
    "item:IsDraft": _constant("IsDraft", "false"),
    "item:IsFromMe": _constant("IsFromMe", "false"),
    "item:IsResend": _constant("IsResend", "false"),
    "item:IsUnmodified": _constant("IsUnmodified", "false"),
    "item:DateTimeSent": lambda e, _: _simple("DateTimeSent", stamp(e.item.created)),
    "item:DateTimeCreated": lambda e, _: _simple("DateTimeCreated", stamp(e.item.created)),
    "item:HasAttachments": _has_attachments,
    "extended": _extended,
    "item:Culture": _constant("Culture", "en-US"),
    "item:LastModifiedTime": lambda e, _: _simple("LastModifiedTime", stamp(e.item.modified)),
    "item:IsAssociated": _constant("IsAssociated", "false"),
    "item:TextBody": _text_body,
    "contacts:FileAs": _file_as,
    "contacts:FileAsMapping": _constant("FileAsMapping", "LastCommaFirst"),
    "contacts:DisplayName": _text("DisplayName", "display_name"),
    "contacts:GivenName": _text("GivenName", "given_name"),
    "contacts:Initials": _text("Initials", "initials"),
    "contacts:MiddleName": _text("MiddleName", "middle_name"),
    "contacts:Nickname": _text("Nickname", "nickname"),
    "contacts:CompleteName": _complete_name,
    "contacts:CompanyName": _text("CompanyName", "company"),
    **_dictionary(
        "EmailAddresses",
        "contacts:EmailAddress",
        lambda entry: _numbered("EmailAddress", entry.item.email_addresses),
        ' RoutingType="SMTP" MailboxType="Contact"',
    ),
    "contacts:PhysicalAddresses": _addresses,
    **_dictionary("PhoneNumbers", "contacts:PhoneNumber", _phones),
    "contacts:AssistantName": _text("AssistantName", "assistant"),
    "contacts:Birthday": _birthday,
    "contacts:BusinessHomePage": _text("BusinessHomePage", "web_page"),
    "contacts:Children": _children,
    "contacts:Companies": _companies,
    "contacts:ContactSource": _directory("ContactSource"),
    "contacts:Department": _text("Department", "department"),
    "contacts:Generation": _text("Generation", "generation"),
    **_dictionary("ImAddresses", "contacts:ImAddress", lambda entry: _numbered("ImAddress", entry.item.im_addresses)),
    "contacts:JobTitle": _text("JobTitle", "job_title"),
    "contacts:Manager": _text("Manager", "manager"),
    "contacts:OfficeLocation": _text("OfficeLocation", "office_location"),
    "contacts:PostalAddressIndex": _constant("PostalAddressIndex", "None"),
    "contacts:Profession": _text("Profession", "profession"),
    "contacts:SpouseName": _text("SpouseName", "spouse"),
    "contacts:Surname": _text("Surname", "surname"),
    "contacts:HasPicture": _has_picture,
    "contacts:Alias": _directory("Alias"),
    "contacts:DirectoryId": _directory("DirectoryId"),
}
