"""Everybody, contacts of the organisation, and who is left out: through the real command line, to the last step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from connectors.graph import ClientSecret, GraphSettings, connect
from connectors.port import Connector, Source, SourceKind
from connectors.selection import UserFilter
from tests.acceptance.conftest import Shell
from tests.conftest import Authority
from tests.simulators.company.cast import COURIER, EVERYBODY, LAYLA, MEI, SALES, SUPPLIER
from tests.simulators.company.model import Company, Person
from tests.simulators.online.server import OnlineSimulator


@pytest.fixture
def cloud(vault: Shell, online: OnlineSimulator) -> Shell:
    """A shell with an online tenant, `cloud`, and no sources yet."""
    vault.add_online(online)
    return vault


def pulled(cloud: Shell) -> set[str]:
    """The names on the cards that the vault holds."""
    items = cloud.did("contact", "list", "cloud", "--json").items
    return {item["display_name"] for item in items if item["kind"] == "card"}


def people(company: Company, meant: Callable[[Person], bool]) -> set[str]:
    shown = (one for one in company.people.values() if one.enabled and one.in_address_list is not False)
    return {person.display_name for person in shown if meant(person)}


@pytest.mark.slow
def test_everybody_who_works_here_and_is_shown_is_pulled(cloud: Shell, company: Company) -> None:
    cloud.did("source", "add", "cloud", "--all-users")
    (summary,) = cloud.did("sync", "cloud", "--json").items
    assert summary["failures"] == []
    assert pulled(cloud) == people(company, lambda _: True)
    (source,) = cloud.did("source", "list", "cloud", "--json").items
    assert source["mailboxes"] == summary["mailboxes"] == len(pulled(cloud))


@pytest.mark.slow
def test_people_who_come_to_fit_a_filter_are_pulled_and_who_no_longer_fits_goes(cloud: Shell, company: Company) -> None:
    cloud.did("source", "add", "cloud", "--all-users", "--department", "vertrieb", "--exclude-group", SALES)
    company.change_person(MEI, department="Vertrieb")
    cloud.did("sync", "cloud")
    inside = {one.object_id for one in company.transitive_people(SALES)}
    meant = lambda one: one.department == "Vertrieb" and one.object_id not in inside  # noqa: E731
    assert pulled(cloud) == people(company, meant) == {company.people[MEI].display_name}
    company.change_person(LAYLA, department="VERTRIEB")
    company.change_person(MEI, department="Einkauf")
    cloud.did("sync", "cloud", "--accept-removals")
    assert pulled(cloud) == {company.people[LAYLA].display_name}


@pytest.mark.slow
def test_contacts_of_the_organisation_are_cards_that_no_mailbox_belongs_to(cloud: Shell, company: Company) -> None:
    cloud.did("source", "add", "cloud", "--org-contacts")
    (summary,) = cloud.did("sync", "cloud", "--json").items
    assert (summary["failures"], summary["added"]) == ([], len(company.org_contacts))
    found = {item["display_name"]: item for item in cloud.did("contact", "list", "cloud", "--json").items}
    supplier, courier = (company.org_contacts[key] for key in (SUPPLIER, COURIER))
    assert found.keys() == {supplier.display_name, courier.display_name}
    assert all((one["kind"], one["mailbox"]) == ("card", None) for one in found.values())
    card = found[supplier.display_name]
    assert (card["company"], card["job_title"]) == (supplier.company, supplier.job_title)
    assert (card["business_phones"], card["mobile_phone"]) == ([supplier.business_phone], supplier.mobile_phone)
    assert card["email_addresses"] == [supplier.mail]
    held = cloud.did("tenant", "show", "cloud", "--json").data
    assert (held["mailboxes"], held["contacts"]) == (0, len(company.org_contacts))


@pytest.mark.slow
def test_contacts_that_may_not_be_read_any_more_stay_and_are_asked_for_as_nothing_else(
    cloud: Shell, online: OnlineSimulator, company: Company
) -> None:
    cloud.did("source", "add", "cloud", "--org-contacts", "--all-users", "--domain", "example.com")
    cloud.did("sync", "cloud")
    before = pulled(cloud)
    online.application.roles = tuple(role for role in online.application.roles if role != "OrgContact.Read.All")
    answer = cloud("sync", "cloud", "--json")
    (summary,) = answer.items
    assert [failure["code"] for failure in summary["failures"]] == ["Authorization_RequestDenied"]
    assert "OrgContact.Read.All" in summary["failures"][0]["advice"]
    assert pulled(cloud) == before >= {one.display_name for one in company.org_contacts.values()}


# -- reading again tells what following changes would ----------------------------------------------------------------


@pytest.fixture
def connector(online: OnlineSimulator, authority: Authority) -> Iterator[Connector]:
    secret = ClientSecret(online.client_secret.encode())
    opened = connect(
        GraphSettings(
            online.directory_id,
            online.client_id,
            secret,
            authority=online.origin,
            graph_url=online.origin,
            ca_pem=authority.ca_pem,
        )
    )
    yield opened
    opened.close()


def test_reading_again_brings_every_change_of_people_and_of_members(connector: Connector, company: Company) -> None:
    def found(kind: SourceKind, ref: str = "", **wanted: Any) -> dict[str, str]:
        cards = connector.resolve(Source(kind, ref, UserFilter(**wanted)))
        return {card.mailbox.key: card.contact.display_name for card in cards if card.contact}

    def expected(of: Iterator[Person]) -> dict[str, str]:
        return {one.object_id: one.display_name for one in of}

    for change in (
        lambda: company.change_person(MEI, display_name="Mei Renamed"),
        lambda: company.remove_member(EVERYBODY, LAYLA),
        lambda: company.add_member(SALES, LAYLA),
        lambda: company.remove_person(MEI),
        lambda: company.add_person(display_name="New Here", mail="new@example.com"),
    ):
        change()
        assert found(SourceKind.ALL_USERS, disabled=True, hidden=True) == expected(iter(company.people.values()))
        assert found(SourceKind.GROUP, EVERYBODY) == expected(company.transitive_people(EVERYBODY))
