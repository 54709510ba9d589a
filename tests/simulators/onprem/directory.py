"""The address list: who is in it, ResolveNames and ExpandDL."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from tests.simulators.company.model import Group, Item, OrgContact, Person
from tests.simulators.onprem.fields import Entry
from tests.simulators.onprem.mailboxes import primary_address
from tests.simulators.onprem.shapes import contact_element, named_shape
from tests.simulators.onprem.soap import EwsError, failure, flag, response, success, text, value
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
        if _is_meant(entry, person):
            contact = contact_element(directory_entry(person), named_shape(shape)) if shape else ""
            yield f"<t:Resolution>{mailbox_element(person)}{contact}</t:Resolution>"
    for group in call.state.company.groups.values():
        address = group_address(call, group)
        if means(entry, (group.display_name,), (address,)):
            yield f"<t:Resolution>{whom(group.display_name, address, 'PublicDL')}</t:Resolution>"


def _candidates(call: Call, entry: str) -> list[Person]:
    if "@" not in entry:
        return listed(call)
    person = call.state.company.find_person(entry.casefold().removeprefix("smtp:"))
    if person is None:
        return listed(call)
    return [person] if _is_listed(person) else []


def _is_meant(entry: str, person: Person) -> bool:
    """Whether an entry is the beginning of a name, office or primary address; with a scheme, of any address."""
    if entry.casefold().startswith("smtp:"):
        return means(entry[5:], (), addresses_of(person))
    names = (person.display_name, person.given_name, person.surname, person.office_location)
    return means(entry, names, (primary_address(person),))


def _contacts(call: Call, entry: str, shape: str) -> Iterator[str]:
    folder = call.mailbox.box.default
    for item in folder.items.values():
        names = (item.display_name, item.given_name, item.surname)
        if item.email_addresses and means(entry.removeprefix("smtp:"), names, item.email_addresses):
            contact = contact_element(call.state.entry(item, folder), named_shape(shape)) if shape else ""
            mailbox = whom(item.display_name, item.email_addresses[0], "Contact", item.id)
            yield f"<t:Resolution>{mailbox}{contact}</t:Resolution>"


def means(entry: str, names: tuple[str, ...], addresses: tuple[str, ...]) -> bool:
    """Whether one of these begins like an entry."""
    wanted = entry.casefold()
    return any(candidate.casefold().startswith(wanted) for candidate in (*names, *addresses) if candidate)


def listed(call: Call) -> list[Person]:
    """The people whom the address list shows, those outside too: with an address and not hidden."""
    company = call.state.company
    people = [person for person in company.people.values() if _is_listed(person)]
    return people + [_outsider(contact) for contact in company.org_contacts.values() if contact.mail]


def _outsider(contact: OrgContact) -> Person:
    return Person(
        object_id=contact.object_id,
        user_principal_name=contact.mail,
        mail=contact.mail,
        other_addresses=contact.other_addresses,
        display_name=contact.display_name,
        given_name=contact.given_name,
        surname=contact.surname,
        company=contact.company,
        department=contact.department,
        job_title=contact.job_title,
        office_location=contact.office_location,
        business_phones=(contact.business_phone,) if contact.business_phone else (),
        mobile_phone=contact.mobile_phone,
        address=contact.address,
    )


def _is_listed(person: Person) -> bool:
    return person.in_address_list and bool(person.mail)


def addresses_of(person: Person) -> tuple[str, ...]:
    return (primary_address(person), *person.other_addresses)


def mailbox_element(person: Person) -> str:
    """A person as somebody to write to."""
    kind = "Mailbox" if person.box is not None else "Contact"
    return whom(person.display_name, primary_address(person), kind)


def whom(name: str, address: str, kind: str, item_id: str = "", *, element: str = "Mailbox") -> str:
    """Somebody to write to, in an element of this name."""
    identity = f'<t:ItemId Id="{text(item_id)}"/>' if item_id else ""
    return (
        f"<t:{element}><t:Name>{text(name)}</t:Name><t:EmailAddress>{text(address)}</t:EmailAddress>"
        f"<t:RoutingType>SMTP</t:RoutingType><t:MailboxType>{kind}</t:MailboxType>{identity}</t:{element}>"
    )


def directory_entry(person: Person) -> Entry:
    """A person as an entry of the address list; addresses carry their scheme, the primary one in capitals."""
    primary, *others = addresses_of(person)
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
            outside = [company.org_contacts[member] for member in group.members if member in company.org_contacts]
            inner += [mailbox_element(_outsider(contact)) for contact in outside if contact.mail]
            groups = [company.groups[member] for member in group.members if member in company.groups]
            inner += [whom(nested.display_name, group_address(call, nested), "PublicDL") for nested in groups]
            attributes = f'TotalItemsInView="{len(inner)}" IncludesLastItemInRange="true"'
            content = f"<m:DLExpansion {attributes}>{''.join(inner)}</m:DLExpansion>"
            return response("ExpandDL", [success("ExpandDL", content)])
    return response("ExpandDL", [failure("ExpandDL", EwsError("ErrorNameResolutionNoResults"))])
