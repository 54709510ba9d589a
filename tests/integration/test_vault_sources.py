"""Sources that mean many people at once: their filters, and mailboxes that do not open."""

from __future__ import annotations

from dataclasses import fields

import pytest

from connectors import selection
from syncvault.crypto.place import Place
from syncvault.store import sources as rows
from syncvault.vault import verify
from syncvault.vault.content import sources
from syncvault.vault.content.filters import UserFilter
from syncvault.vault.keyring import rotation
from syncvault.vault.model import Tenant
from syncvault.vault.sealing import open_json
from syncvault.vault.vault import Vault
from tests.integration.vault_parts import register

GROUP = "0d4f6c1b-5e2a-4b7d-9a38-c7f1e6d20b95"
SALES = UserFilter(department="Sales", domain="example.com")


def sealed(vault: Vault, tenant: Tenant) -> list[dict[str, object]]:
    """The JSON texts of a tenant's sources."""
    with vault.read() as tx:
        found = rows.of_tenant(tx, tenant.id)
    cipher = vault.keys.tenant(tenant.id).cipher
    return [open_json(cipher, Place.SOURCE, row.id, row.blob, row.ref_ix) for row in found]


def test_the_connectors_filter_has_the_same_names_and_defaults() -> None:
    ours, theirs = ({one.name: one.default for one in fields(each)} for each in (UserFilter, selection.UserFilter))
    assert ours == theirs


def test_a_filter_reads_as_an_administrator_would_write_it() -> None:
    assert UserFilter().text == ""
    assert SALES.text == "department=Sales domain=example.com"
    assert UserFilter(department="XR").text == "department=XR"
    whole = UserFilter("Human Resources", 'A "B" AG', "example.com", GROUP, disabled=True, hidden=True)
    assert whole.text == (
        f'department="Human Resources" company="A \\"B\\" AG" domain=example.com exclude_group={GROUP} '
        "include_disabled include_hidden"
    )


def test_no_value_can_be_taken_for_another_filter() -> None:
    assert UserFilter(department="Sales domain=example.com").text != SALES.text
    assert UserFilter(department='"Sales"').text != UserFilter(department="Sales").text


def test_a_source_keeps_its_filter_and_only_what_is_not_as_by_default(vault: Vault) -> None:
    tenant = register(vault, "acme")
    added = sources.add(vault, tenant, "all-users", "", SALES)
    assert added.filter == SALES
    assert sources.listing(vault, tenant) == [added]
    plain = {"kind": "all-users", "ref": SALES.text, "filter": {"department": "Sales", "domain": "example.com"}}
    assert sealed(vault, tenant) == [plain]


def test_a_source_without_a_filter_is_sealed_as_it_always_was(vault: Vault) -> None:
    tenant = register(vault, "acme", "g:team")
    sources.add(vault, tenant, "org-contacts", "")
    assert sorted(sealed(vault, tenant), key=str) == [
        {"kind": "group", "ref": "g:team"},
        {"kind": "org-contacts", "ref": ""},
    ]
    assert {one.filter for one in sources.listing(vault, tenant)} == {UserFilter()}


@pytest.mark.parametrize(
    "same",
    [SALES, UserFilter(department="SALES", domain="Example.COM")],
)
def test_the_same_filter_is_the_same_source(vault: Vault, same: UserFilter) -> None:
    tenant = register(vault, "acme")
    first = sources.add(vault, tenant, "all-users", "", SALES)
    assert sources.add(vault, tenant, "all-users", "", same) == first


def test_every_other_filter_is_another_source(vault: Vault) -> None:
    tenant = register(vault, "acme")
    wanted = [
        UserFilter(),
        SALES,
        UserFilter(department="Sales"),
        UserFilter(company="Sales"),
        UserFilter(department="Sales domain=example.com"),
        UserFilter(exclude_group=GROUP),
        UserFilter(disabled=True),
        UserFilter(hidden=True),
        UserFilter(disabled=True, hidden=True),
    ]
    added = [sources.add(vault, tenant, "all-users", "", one) for one in wanted]
    assert len({one.id for one in added}) == len(wanted)
    assert {one.filter for one in sources.listing(vault, tenant)} == set(wanted)


def test_a_filter_is_found_again_after_the_keys_were_changed(vault: Vault) -> None:
    tenant = register(vault, "acme")
    first = sources.add(vault, tenant, "all-users", "", SALES)
    rotation.rotate(vault, tenant)
    assert sources.add(vault, tenant, "all-users", "", SALES) == first
    assert verify.verify(vault).findings == []


def test_a_mailbox_that_does_not_open_says_so_and_others_are_sealed_as_before(vault: Vault) -> None:
    tenant = register(vault, "acme")
    source = sources.add(vault, tenant, "org-contacts", "")
    named = [
        sources.Named("5b7e9c02", "outside@partner.example", sources.MailboxKind.OUTSIDE),
        sources.Named("1d4f4a68", "in@b.example"),
    ]
    sources.name_mailboxes(vault, tenant, source.id, named)
    assert [sources.mailbox(vault, tenant, one.key).opens for one in named] == [False, True]
    assert [one.plain() for one in named] == [
        {"key": "5b7e9c02", "address": "outside@partner.example", "opens": False},
        {"key": "1d4f4a68", "address": "in@b.example"},
    ]


def test_naming_a_mailbox_again_changes_nothing_unless_something_changed(vault: Vault) -> None:
    tenant = register(vault, "acme")
    source = sources.add(vault, tenant, "org-contacts", "")
    outside = sources.Named("5b7e9c02", "outside@partner.example", sources.MailboxKind.OUTSIDE)
    (first,) = sources.name_mailboxes(vault, tenant, source.id, [outside])
    before = sources.mailboxes_by_id(vault, tenant)
    assert sources.name_mailboxes(vault, tenant, source.id, [outside]) == [first]
    assert sources.mailboxes_by_id(vault, tenant) == before
    assert sources.add(vault, tenant, "org-contacts", "").mailboxes == 1
    sources.name_mailboxes(vault, tenant, source.id, [outside._replace(kind=sources.MailboxKind.PERSON)])
    assert sources.mailbox(vault, tenant, outside.key).opens
