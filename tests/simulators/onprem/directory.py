"""The address list: ResolveNames, ExpandDL, FindPeople and GetPersona."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from tests.simulators.company.model import Group, Item, Person
from tests.simulators.onprem.fields import Entry
from tests.simulators.onprem.folders import page
from tests.simulators.onprem.mailboxes import primary_address
from tests.simulators.onprem.shapes import contact_element, named_shape
from tests.simulators.onprem.soap import EwsError, M, children, failure, flag, local, response, success, text, value
from tests.simulators.onprem.state import Call

MOST = 100  # resolutions in one answer


def resolve_names(call: Call) -> str:
    """Who in the address list, or in the contacts, an entry could mean."""
    name = "ResolveNames"
    entry = value(call.body, "m:UnresolvedEntry")
    scope = call.body.get("SearchScope", "ActiveDirectoryContacts")
    found = [*_resolutions(call, entry, scope)]
    if not found:
        return response(name, [failure(name, EwsError("ErrorNameResolutionNoResults"))])
    shown, last = found[:MOST], "true" if len(found) <= MOST else "false"
    attributes = f'TotalItemsInView="{len(shown)}" IncludesLastItemInRange="{last}"'
    content = f"<m:ResolutionSet {attributes}>{''.join(shown)}</m:ResolutionSet>"
    if len(found) == 1:
        return response(name, [success(name, content)])
    many = EwsError("ErrorNameResolutionMultipleResults")
    return response(name, [failure(name, many, content=content, severity="Warning")])


def _resolutions(call: Call, entry: str, scope: str) -> Iterator[str]:
    full = flag(call.body.get("ReturnFullContactData", "false"))
    shape = (call.body.get("ContactDataShape") or "Default") if full else ""
    directory = [*_directory(call, entry, shape)] if "ActiveDirectory" in scope else []
    contacts = [*_contacts(call, entry, shape)] if "Contacts" in scope else []
    yield from contacts + directory if scope == "ContactsActiveDirectory" else directory + contacts


def _directory(call: Call, entry: str, shape: str) -> Iterator[str]:
    for person in _candidates(call, entry):
        if _means(entry, (person.display_name, person.given_name, person.surname), _addresses(person)):
            contact = contact_element(directory_entry(person), named_shape(shape)) if shape else ""
            yield f"<t:Resolution>{mailbox_element(person)}{contact}</t:Resolution>"
    for group in call.state.company.groups.values():
        address = group_address(call, group)
        if _means(entry, (group.display_name,), (address,)):
            yield f"<t:Resolution>{_mailbox(group.display_name, address, 'PublicDL')}</t:Resolution>"


def _candidates(call: Call, entry: str) -> list[Person]:
    if "@" not in entry:
        return listed(call)
    person = call.state.company.find_person(entry.casefold().removeprefix("smtp:"))
    return [person] if person is not None and _is_listed(person) else []


def _contacts(call: Call, entry: str, shape: str) -> Iterator[str]:
    folder = call.mailbox.box.default
    for item in folder.items.values():
        if item.email_addresses and _means(
            entry, (item.display_name, item.given_name, item.surname), item.email_addresses
        ):
            contact = contact_element(call.state.entry(item, folder), named_shape(shape)) if shape else ""
            mailbox = _mailbox(item.display_name, item.email_addresses[0], "Contact", item.id)
            yield f"<t:Resolution>{mailbox}{contact}</t:Resolution>"


def _means(entry: str, names: tuple[str, ...], addresses: tuple[str, ...]) -> bool:
    wanted = entry.casefold()
    if wanted.startswith("smtp:"):
        wanted = wanted.removeprefix("smtp:")
    if "@" in wanted:
        return any(address.casefold() == wanted for address in addresses)
    candidates = [name for name in names if name] + [address.partition("@")[0] for address in addresses]
    return any(candidate.casefold().startswith(wanted) for candidate in candidates)


def listed(call: Call) -> list[Person]:
    """The people whom the address list shows: with an address and not hidden."""
    return [person for person in call.state.company.people.values() if _is_listed(person)]


def _is_listed(person: Person) -> bool:
    return person.in_address_list and bool(person.mail)


def _addresses(person: Person) -> tuple[str, ...]:
    return (primary_address(person), *person.other_addresses)


def mailbox_element(person: Person) -> str:
    """A person as somebody to write to."""
    kind = "Mailbox" if person.box is not None else "Contact"
    return _mailbox(person.display_name, primary_address(person), kind)


def _mailbox(name: str, address: str, kind: str, item_id: str = "", *, element: str = "Mailbox") -> str:
    identity = f'<t:ItemId Id="{text(item_id)}"/>' if item_id else ""
    return (
        f"<t:{element}><t:Name>{text(name)}</t:Name><t:EmailAddress>{text(address)}</t:EmailAddress>"
        f"<t:RoutingType>SMTP</t:RoutingType><t:MailboxType>{kind}</t:MailboxType>{identity}</t:{element}>"
    )


def directory_entry(person: Person) -> Entry:
    """A person as an entry of the address list; addresses carry their scheme, the primary one in capitals."""
    primary, *others = _addresses(person)
    item = Item(
        id=person.object_id,
        display_name=person.display_name,
        given_name=person.given_name,
        surname=person.surname,
        company=person.company,
        department=person.department,
        job_title=person.job_title,
        office_location=person.office_location,
        email_addresses=(f"SMTP:{primary}", *(f"smtp:{other}" for other in others)),
        business_phones=person.business_phones,
        mobile_phone=person.mobile_phone,
        business_address=person.address,
        photo=person.photo,
        created=person.created,
        modified=person.created,
    )
    alias = primary.partition("@")[0]
    extra = {"ContactSource": "ActiveDirectory", "Alias": alias, "DirectoryId": person.object_id}
    return Entry(item, directory=extra)


def group_address(call: Call, group: Group) -> str:
    """The address that a group receives mail under."""
    plain = unicodedata.normalize("NFKD", group.display_name.casefold()).encode("ascii", "ignore").decode()
    domain = call.access.service_address.partition("@")[2]
    return f"{re.sub(r'[^a-z0-9]+', '-', plain).strip('-') or 'group'}@{domain}"


def expand_dl(call: Call) -> str:
    """The direct members of a group of the address list."""
    wanted = value(call.body, "m:Mailbox/t:EmailAddress").casefold()
    company = call.state.company
    for group in company.groups.values():
        if group_address(call, group).casefold() == wanted:
            people = [company.people[member] for member in group.members if member in company.people]
            inner = [mailbox_element(person) for person in people if person.mail]
            groups = [company.groups[member] for member in group.members if member in company.groups]
            inner += [_mailbox(nested.display_name, group_address(call, nested), "PublicDL") for nested in groups]
            attributes = f'TotalItemsInView="{len(inner)}" IncludesLastItemInRange="true"'
            content = f"<m:DLExpansion {attributes}>{''.join(inner)}</m:DLExpansion>"
            return response("ExpandDL", [success("ExpandDL", content)])
    return response("ExpandDL", [failure("ExpandDL", EwsError("ErrorNameResolutionNoResults"))])


def find_people(call: Call) -> str:
    """Personas whose names begin as the query says: of the address list, or of a contact folder that is named."""
    query = value(call.body, "m:QueryString")
    everybody = _folder_content(call)
    people = [item for item in everybody if not query or _means(query, _names(item), item.email_addresses)]
    shown, _ = page(people, call.body.find(f"{M}IndexedPageItemView"))
    personas = "".join(_persona(item) for item in shown)
    return success(
        "FindPeople",
        f"<m:People>{personas}</m:People><m:TotalNumberOfPeopleInView>{len(people)}</m:TotalNumberOfPeopleInView>"
        "<m:FirstMatchingRowIndex>0</m:FirstMatchingRowIndex><m:FirstLoadedRowIndex>0</m:FirstLoadedRowIndex>",
    )


def _folder_content(call: Call) -> list[Item]:
    parent = call.body.find(f"{M}ParentFolderId")
    references = children(parent)
    if not references or local(references[0]) == "AddressListId" or references[0].get("Id") == "directory":
        return [directory_entry(person).item for person in listed(call)]
    _, view = call.access.folder(references[0], call.mailbox)
    return [] if view.contacts is None else list(view.contacts.items.values())


def _names(item: Item) -> tuple[str, ...]:
    return item.display_name, item.given_name, item.surname


def get_persona(call: Call) -> str:
    """One persona, by ID or address."""
    reference = call.body.find(f"{M}PersonaId")
    wanted = "" if reference is None else reference.get("Id", "")
    address = value(call.body, "m:EmailAddress/t:EmailAddress").casefold()
    for person in listed(call):
        if wanted == person.object_id or (address and address == primary_address(person).casefold()):
            return success("GetPersona", _persona(directory_entry(person).item, element="m:Persona"))
    found = call.mailbox.box.find(wanted)
    if found is None:
        return failure("GetPersona", EwsError("ErrorItemNotFound"))
    return success("GetPersona", _persona(found[1], element="m:Persona"))


def _persona(item: Item, element: str = "t:Persona") -> str:
    parts = (
        ("DisplayName", item.display_name),
        ("GivenName", item.given_name),
        ("Surname", item.surname),
        ("Title", item.job_title),
        ("Department", item.department),
        ("CompanyName", item.company),
    )
    inner = "".join(f"<t:{name}>{text(content)}</t:{name}>" for name, content in parts if content)
    if item.email_addresses:
        address = item.email_addresses[0].removeprefix("SMTP:")
        whole = _mailbox(item.display_name, address, "Mailbox", element="Address")
        inner += _mailbox(item.display_name, address, "Mailbox", element="EmailAddress")
        inner += f"<t:EmailAddresses>{whole}</t:EmailAddresses>"
    return f'<{element}><t:PersonaId Id="{text(item.id)}"/><t:PersonaType>Person</t:PersonaType>{inner}</{element}>'
