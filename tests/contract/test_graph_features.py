"""What a credential is good for is found out by trying, and what is missing is named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from connectors.graph import ClientSecret, check
from connectors.graph.directory.permissions import Checked, Feature, FeatureCheck
from connectors.port import CredentialRejected
from tests.contract.harness_graph import GraphHarness
from tests.simulators.company import cast
from tests.simulators.company.model import Company

if TYPE_CHECKING:
    from tests.conftest import Authority

ALL = ("User.Read.All", "GroupMember.Read.All", "Contacts.Read", "OrgContact.Read.All")


@pytest.fixture
def harness(company: Company, authority: Authority) -> Iterator[GraphHarness]:
    made = GraphHarness(company, authority.ca, authority.ca_pem)
    made.simulator.application.roles = ALL
    yield made
    made.close()


def checked(harness: GraphHarness, **meant: Any) -> Checked:
    return check(harness.settings(), sleep=harness.waits.append, **meant)


def feature(found: Checked, name: Feature) -> FeatureCheck:
    return next(one for one in found.features if one.feature is name)


def test_with_every_permission_everything_works_at_the_cost_of_a_few_requests(harness: GraphHarness) -> None:
    found = checked(harness, users=[cast.ANNA])
    assert [(one.feature, one.ok, one.missing, one.code) for one in found.features] == [
        (name, True, (), "") for name in Feature
    ]
    assert found.identity.permissions == tuple(sorted(ALL))
    assert len(harness.simulator.recorder.paths()) == len(Feature)


@pytest.mark.parametrize(
    ("taken", "name", "code"),
    [
        ("User.Read.All", Feature.USERS, "Authorization_RequestDenied"),
        ("GroupMember.Read.All", Feature.GROUPS, "Authorization_RequestDenied"),
        ("Contacts.Read", Feature.CONTACTS, "ErrorAccessDenied"),
        ("OrgContact.Read.All", Feature.ORG_CONTACTS, "Authorization_RequestDenied"),
    ],
)
def test_a_permission_that_is_missing_is_named_with_the_feature_that_wants_it(
    harness: GraphHarness, taken: str, name: Feature, code: str
) -> None:
    harness.simulator.application.roles = tuple(role for role in ALL if role != taken)
    found = feature(checked(harness, users=[cast.ANNA]), name)
    assert (found.ok, found.missing, found.code) == (False, (taken,), code)
    assert taken in found.needs


def test_a_greater_permission_serves_as_well(harness: GraphHarness) -> None:
    harness.simulator.application.roles = ("Directory.Read.All", "Contacts.ReadWrite")
    found = checked(harness, users=[cast.ANNA])
    assert all(feature(found, name).ok for name in (Feature.USERS, Feature.GROUPS, Feature.CONTACTS))


def test_a_fence_around_mailboxes_is_no_missing_permission(harness: GraphHarness) -> None:
    harness.simulator.behaviour.denied.add(cast.ANNA)
    found = feature(checked(harness, users=[cast.ANNA]), Feature.CONTACTS)
    assert (found.ok, found.missing, found.code) == (False, (), "ErrorAccessDenied")
    assert feature(checked(harness, users=[cast.ANNA, cast.NILS]), Feature.CONTACTS).ok


def test_whose_mailbox_is_tried_is_found_where_nobody_was_named(harness: GraphHarness) -> None:
    assert feature(checked(harness), Feature.CONTACTS).ok
    by_group = checked(harness, groups=[cast.EVERYBODY])
    assert feature(by_group, Feature.GROUPS).ok
    assert feature(by_group, Feature.CONTACTS).ok


def test_without_anybody_to_try_the_token_decides(harness: GraphHarness) -> None:
    nobody = ["00000000-0000-4000-8000-000000000000"]
    found = feature(checked(harness, users=nobody), Feature.CONTACTS)
    assert (found.ok, found.code) == (True, "not-tried")
    harness.simulator.application.roles = ("User.Read.All",)
    found = feature(checked(harness, users=nobody), Feature.CONTACTS)
    assert (found.ok, found.missing) == (False, ("Contacts.Read",))


def test_a_refused_credential_ends_the_check(harness: GraphHarness) -> None:
    with pytest.raises(CredentialRejected):
        check(harness.settings(ClientSecret(b"wrong")), sleep=harness.waits.append)
    assert harness.simulator.recorder.paths() == []
