"""What opens a tenant's Exchange: every kind of it, what it is good for, and a word before it ends."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from tests.acceptance.conftest import Answer, Shell
from tests.simulators.company.cast import ANNA
from tests.simulators.online.identity import IdentityHost
from tests.simulators.online.registration import Trust, key_pair
from tests.simulators.online.server import OnlineSimulator

pytestmark = pytest.mark.slow

ISSUER, SUBJECT = "https://oidc.example.test/cluster", "system:serviceaccount:contacts:syncvault"


def features(checked: Answer) -> dict[str, Any]:
    return {one["feature"]: one for one in checked.data["features"]}


def workload_token(shell: Shell, online: OnlineSimulator) -> str:
    """A file as the platform writes it, for a workload that the application trusts."""
    pair: Any = key_pair("cluster")
    online.application.trusts.append(Trust(ISSUER, SUBJECT, pair.key.public_key()))
    claims = {"iss": ISSUER, "sub": SUBJECT, "aud": "api://AzureADTokenExchange"}
    claims |= {"exp": datetime.now(UTC) + timedelta(minutes=10)}
    return shell.file("token", jwt.encode(claims, pair.key, "RS256"))


def test_a_tenants_credential_is_rotated_through_every_kind(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    files, token = online.files, workload_token(vault, online)
    rotate = ("credential", "rotate", "cloud", "--json")
    pfx = ("--certificate", str(files.certificate_pfx))
    rotated = vault.did(*rotate, *pfx, "--certificate-password-file", str(files.certificate_pfx_password_file))
    assert (rotated.data["kind"], bool(rotated.data["thumbprint"])) == ("certificate", True)
    rotated = vault.did(*rotate, "--workload-identity", "--federated-token-file", token)
    assert (rotated.data["kind"], rotated.data["token_file"]) == ("workload-identity", token)
    assert vault.did("sync", "cloud", "--json")

    def issue(audience: str) -> str:
        return online.issuer.issue(online.application, audience, f"{online.origin}/")

    with IdentityHost(issue, {""}) as host:
        assert vault(*rotate, "--managed-identity", **host.as_vm).data["kind"] == "managed-identity"
        assert vault("credential", "check", "cloud", "--json", **host.as_vm).data["kind"] == "managed-identity"
    vault.did(*rotate, "--secret-file", str(files.client_secret_file))
    shown = vault.did("credential", "show", "cloud", "--json").data
    assert (shown["kind"], shown["token_file"], shown["thumbprint"]) == ("secret", None, None)


def test_a_check_says_what_is_missing_and_whether_that_matters(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    online.application.roles = ("User.Read.All", "Contacts.Read")
    answer = vault("credential", "check", "cloud", "--json")
    assert (answer.code, answer.data["ok"], answer.data["permissions"]) == (0, True, ["Contacts.Read", "User.Read.All"])
    assert features(answer)["contacts"]["ok"]
    assert features(answer)["groups"]["missing"] == ["GroupMember.Read.All"]

    vault.did("source", "add", "cloud", "--user", ANNA)
    assert vault("credential", "check", "cloud").code == 0
    online.application.roles = ("User.Read.All",)
    answer = vault("credential", "check", "cloud", "--json")
    contacts = features(answer)["contacts"]
    assert answer.code == 3
    assert (contacts["ok"], contacts["needed"], contacts["missing"]) == (False, True, ["Contacts.Read"])
    assert contacts["code"] == "ErrorAccessDenied"
    assert "grant Contacts.Read" in vault("credential", "check", "cloud").out


def test_a_credential_that_ends_soon_is_told_of_ahead(vault: Shell, online: OnlineSimulator) -> None:
    ends = (datetime.now(UTC) + timedelta(days=20)).date().isoformat()
    options = [*vault.online_options(online), "--secret-stdin", "--secret-expires", ends]
    vault.did("tenant", "add-online", "cloud", *options, given=online.client_secret)
    assert vault.did("credential", "check", "cloud", "--json").data["expires_at"].startswith(ends)
    (ending,) = vault.did("status", "--json").data["ending_credentials"]
    assert (ending["tenant"], ending["credential_expires_on"], ending["has_ended"]) == ("cloud", ends, False)
    assert "credential rotate cloud" in vault.did("status").out
    found = json.loads(vault("doctor", "--json").out)["data"]["items"]
    assert [one["result"] for one in found if one["check"] == "credentials"] == ["warn"]

    vault.did("credential", "rotate", "cloud", "--secret-stdin", given=online.client_secret)
    assert vault.did("status", "--json").data["ending_credentials"] == []


def test_a_tenant_goes_past_the_proxy_once_told_to(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    assert vault.did("tenant", "edit", "cloud", "--no-proxy", "--json").data["uses_proxy"] is False
    assert vault.did("tenant", "edit", "cloud", "--proxy", "--json").data["uses_proxy"] is True
