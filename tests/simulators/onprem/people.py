"""FindPeople and GetPersona: the address list, or a contact folder, as personas."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lxml import etree

from tests.simulators.company.model import Item, PostalAddress
from tests.simulators.onprem.directory import directory_entry, listed, means, whom
from tests.simulators.onprem.folders import page
from tests.simulators.onprem.mailboxes import primary_address
from tests.simulators.onprem.soap import EwsError, M, T, children, failure, local, success, text, value
from tests.simulators.onprem.state import Call

Render = Callable[[Item], str]


def find_people(call: Call) -> str:
    """Personas that begin as the query says: of the address list, or of a contact folder that is named."""
    query = value(call.body, "m:QueryString")
    try:
        everybody = _content(call, query)
        found = [each for each in everybody if not query or means(query, _names(each[1]), each[1].email_addresses)]
        shown, _ = page(found, call.body.find(f"{M}IndexedPageItemView"))
    except EwsError as problem:
        return failure("FindPeople", problem)
    wanted = _wanted(call.body.find(f"{M}PersonaShape"))
    personas = "".join(_persona(item, kind, wanted) for kind, item in shown)
    return success(
        "FindPeople",
        f"<m:People>{personas}</m:People><m:TotalNumberOfPeopleInView>{len(found)}</m:TotalNumberOfPeopleInView>"
        "<m:FirstMatchingRowIndex>0</m:FirstMatchingRowIndex><m:FirstLoadedRowIndex>0</m:FirstLoadedRowIndex>",
    )


def _content(call: Call, query: str) -> list[tuple[str, Item]]:
    references = children(call.body.find(f"{M}ParentFolderId"))
    is_list = bool(references) and local(references[0]) == "AddressListId"
    if not references or is_list or references[0].get("Id") == "directory":
        if not query and not is_list and not call.state.shows_whole_directory:
            # "FindPeople operation": the directory cannot be browsed. Which code says so is not written there.
            raise EwsError("ErrorInvalidOperation", "A search of the directory needs a query string.")
        return [("Room" if person.is_room else "Person", directory_entry(person).item) for person in listed(call)]
    _, view = call.access.folder(references[0], call.mailbox)
    return [] if view.contacts is None else [("Person", item) for item in view.contacts.items.values()]


def _names(item: Item) -> tuple[str, ...]:
    return item.display_name, item.given_name, item.surname


def get_persona(call: Call) -> str:
    """One persona, by ID or address."""
    reference = call.body.find(f"{M}PersonaId")
    wanted = "" if reference is None else reference.get("Id", "")
    address = value(call.body, "m:EmailAddress/t:EmailAddress").casefold()
    for person in listed(call):
        if wanted == person.object_id or (address and address == primary_address(person).casefold()):
            item, kind = directory_entry(person).item, "Room" if person.is_room else "Person"
            return success("GetPersona", _persona(item, kind, frozenset(_FIELDS), element="m:Persona"))
    found = call.mailbox.box.find(wanted)
    if found is None:
        return failure("GetPersona", EwsError("ErrorItemNotFound"))
    return success("GetPersona", _persona(found[1], "Person", frozenset(_FIELDS), element="m:Persona"))


# -- personas ----------------------------------------------------------------------------------------------------------

_ATTRIBUTIONS = "<t:Attributions><t:Attribution>0</t:Attribution></t:Attributions>"


def _simple(name: str, attribute: str) -> Render:
    return lambda item: f"<t:{name}>{text(found)}</t:{name}>" if (found := getattr(item, attribute)) else ""


def _listed(name: str, kind: str, values: Iterable[str]) -> str:
    inner = "".join(f"<t:{kind}><t:Value>{one}</t:Value>{_ATTRIBUTIONS}</t:{kind}>" for one in values if one)
    return f"<t:{name}>{inner}</t:{name}>" if inner else ""


def _texts(name: str, attribute: str) -> Render:
    return lambda item: _listed(name, "StringAttributedValue", [text(getattr(item, attribute))])


def _phone(name: str, kind: str, numbers: Callable[[Item], tuple[str, ...]]) -> Render:
    def render(item: Item) -> str:
        values = [f"<t:Number>{text(one)}</t:Number><t:Type>{kind}</t:Type>" for one in numbers(item) if one]
        return _listed(name, "PhoneNumberAttributedValue", values)

    return render


def _place(name: str, attribute: str, kind: str) -> Render:
    def render(item: Item) -> str:
        place: PostalAddress = getattr(item, attribute)
        parts = (
            ("Street", place.street),
            ("City", place.city),
            ("State", place.region),
            ("Country", place.country),
            ("PostalCode", place.postal_code),
            ("Type", kind if place else ""),
        )
        inner = "".join(f"<t:{part}>{text(found)}</t:{part}>" for part, found in parts if found)
        return _listed(name, "PostalAddressAttributedValue", [inner])

    return render


def _primary(item: Item) -> str:
    return item.email_addresses[0].removeprefix("SMTP:") if item.email_addresses else ""


def _email_address(item: Item) -> str:
    return whom(item.display_name, _primary(item), "Mailbox", element="EmailAddress") if _primary(item) else ""


def _email_addresses(item: Item) -> str:
    if not _primary(item):
        return ""
    return (
        f"<t:EmailAddresses>{whom(item.display_name, _primary(item), 'Mailbox', element='Address')}</t:EmailAddresses>"
    )


# In the order of the schema. Addresses beside the primary one are not shown.
_FIELDS: dict[str, Render] = {
    "DisplayName": _simple("DisplayName", "display_name"),
    "DisplayNamePrefix": _simple("DisplayNamePrefix", "title"),
    "GivenName": _simple("GivenName", "given_name"),
    "Surname": _simple("Surname", "surname"),
    "Title": _simple("Title", "job_title"),
    "Department": _simple("Department", "department"),
    "CompanyName": _simple("CompanyName", "company"),
    "EmailAddress": _email_address,
    "EmailAddresses": _email_addresses,
    "MiddleNames": _texts("MiddleNames", "middle_name"),
    "Generations": _texts("Generations", "generation"),
    "Nicknames": _texts("Nicknames", "nickname"),
    "Initials": _texts("Initials", "initials"),
    "BusinessPhoneNumbers": _phone("BusinessPhoneNumbers", "Business", lambda item: item.business_phones[:1]),
    "BusinessPhoneNumbers2": _phone("BusinessPhoneNumbers2", "Business", lambda item: item.business_phones[1:2]),
    "HomePhones": _phone("HomePhones", "Home", lambda item: item.home_phones[:1]),
    "HomePhones2": _phone("HomePhones2", "Home", lambda item: item.home_phones[1:2]),
    "MobilePhones": _phone("MobilePhones", "Mobile", lambda item: (item.mobile_phone,)),
    "BusinessHomePages": _texts("BusinessHomePages", "web_page"),
    "OfficeLocations": _texts("OfficeLocations", "office_location"),
    "BusinessAddresses": _place("BusinessAddresses", "business_address", "Business"),
    "HomeAddresses": _place("HomeAddresses", "home_address", "Home"),
    "OtherAddresses": _place("OtherAddresses", "other_address", "Other"),
    "Departments": _texts("Departments", "department"),
    "Managers": _texts("Managers", "manager"),
    "AssistantNames": _texts("AssistantNames", "assistant"),
}
_DEFAULT = frozenset({"DisplayName", "GivenName", "Surname", "Title", "CompanyName", "EmailAddress", "EmailAddresses"})


def _wanted(shape: etree._Element | None) -> frozenset[str]:
    if shape is None:
        return _DEFAULT
    base = value(shape, "t:BaseShape")
    if base == "AllProperties":
        return frozenset(_FIELDS)
    asked = (path.get("FieldURI", "") for path in children(shape.find(f"{T}AdditionalProperties")))
    names = {uri.removeprefix("persona:") for uri in asked}
    return frozenset(names | (_DEFAULT if base == "Default" else set()))


def _persona(item: Item, kind: str, wanted: frozenset[str], element: str = "t:Persona") -> str:
    inner = "".join(render(item) for name, render in _FIELDS.items() if name in wanted)
    return f'<{element}><t:PersonaId Id="{text(item.id)}"/><t:PersonaType>{kind}</t:PersonaType>{inner}</{element}>'
