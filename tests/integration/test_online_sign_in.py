"""The simulated Entra refuses what the real one refuses, by the same numbers, and Graph takes only its bearers."""

from __future__ import annotations

import time
import uuid
from typing import Any

import jwt
import msal
import pytest
import requests

from tests.simulators.company.cast import ANNA
from tests.simulators.online.registration import key_pair
from tests.simulators.online.server import OnlineSimulator


def code_of(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def sign_in(online: OnlineSimulator, session: requests.Session, credential: Any, **changed: str) -> dict[str, Any]:
    directory, client = changed.get("directory", online.directory_id), changed.get("client", online.client_id)
    app = msal.ConfidentialClientApplication(
        client,
        authority=f"{online.origin}/{directory}",
        instance_discovery=False,
        http_client=session,
        client_credential=credential,
    )
    return app.acquire_token_for_client([f"{online.origin}/.default"])


def test_msal_signs_in_with_secret_pfx_and_legacy_thumbprint(online: OnlineSimulator, plain: requests.Session) -> None:
    pair = key_pair("syncvault test app")
    pfx = {
        "private_key_pfx_path": str(online.files.certificate_pfx),
        "passphrase": online.files.certificate_pfx_password_file.read_text(),
    }
    legacy = {"private_key": pair.key_pem().decode(), "thumbprint": pair.thumbprint}
    for credential in (online.client_secret, pfx, legacy):
        assert sign_in(online, plain, credential)["token_type"] == "Bearer"


@pytest.mark.parametrize(
    ("credential", "number"),
    [("wrong", 7000215), ("expired", 7000222), ("foreign certificate", 700027), ("swapped certificate", 700027)],
)
def test_a_wrong_credential_is_refused_with_its_number(
    credential: str, number: int, online: OnlineSimulator, plain: requests.Session
) -> None:
    other, own = key_pair("somebody else"), key_pair("syncvault test app")
    given: Any = {
        "expired": online.expired_secret,
        "foreign certificate": {"private_key": other.key_pem().decode(), "thumbprint": other.thumbprint},
        "swapped certificate": {"private_key": other.key_pem().decode(), "thumbprint": own.thumbprint},
    }.get(credential, credential)
    assert sign_in(online, plain, given)["error_codes"] == [number]
    assert online.refused_logins == 1


def test_an_unknown_application_is_refused(online: OnlineSimulator, plain: requests.Session) -> None:
    assert sign_in(online, plain, "x", client=str(uuid.uuid4()))["error_codes"] == [700016]


@pytest.mark.parametrize(
    ("directory", "number"), [("c0ffee00-1111-4222-8333-444455556666", 90002), ("no-guid", 900023)]
)
def test_an_unknown_directory_is_refused(
    directory: str, number: int, online: OnlineSimulator, plain: requests.Session
) -> None:
    answer = plain.get(f"{online.origin}/{directory}/v2.0/.well-known/openid-configuration")
    assert (answer.status_code, answer.json()["error_codes"]) == (400, [number])


def assertion(online: OnlineSimulator, **changed: Any) -> str:
    pair = key_pair("syncvault test app")
    claims = {
        "aud": f"{online.origin}/{online.directory_id}/oauth2/v2.0/token",
        "iss": online.client_id,
        "sub": online.client_id,
        "exp": time.time() + 600,
        "iat": time.time(),
        "jti": str(uuid.uuid4()),
    }
    return jwt.encode({**claims, **changed}, pair.key, "RS256", {"x5t": _thumbprint(pair.thumbprint)})


def _thumbprint(hexadecimal: str) -> str:
    return jwt.utils.base64url_encode(bytes.fromhex(hexadecimal)).decode()


def post_assertion(online: OnlineSimulator, session: requests.Session, text: str) -> requests.Response:
    form = {
        "grant_type": "client_credentials",
        "client_id": online.client_id,
        "scope": f"{online.origin}/.default",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": text,
    }
    return session.post(f"{online.origin}/{online.directory_id}/oauth2/v2.0/token", data=form)


@pytest.mark.parametrize(
    ("changed", "number"),
    [
        ({"exp": 1_700_000_000}, 700024),
        ({"nbf": 4_000_000_000}, 700024),
        ({"aud": "https://login.example"}, 700023),
        ({"iss": "somebody"}, 700021),
        ({"sub": "somebody"}, 700030),
    ],
    ids=["expired", "not yet", "audience", "issuer", "subject"],
)
def test_an_assertion_with_a_wrong_claim_is_refused(
    changed: dict[str, Any], number: int, online: OnlineSimulator, plain: requests.Session
) -> None:
    answer = post_assertion(online, plain, assertion(online, **changed))
    assert (answer.status_code, answer.json()["error_codes"]) == (401, [number])


def test_an_assertion_works_once(online: OnlineSimulator, plain: requests.Session) -> None:
    text = assertion(online)
    assert post_assertion(online, plain, text).ok
    assert post_assertion(online, plain, text).json()["error_codes"] == [50027]


def test_graph_refuses_missing_forged_and_expired_bearers(
    online: OnlineSimulator, plain: requests.Session, graph_session: requests.Session
) -> None:
    url = f"{online.origin}/v1.0/users"
    token = str(graph_session.headers["Authorization"])
    forged = jwt.encode(
        {"aud": online.origin, "exp": time.time() + 60, "roles": []}, key_pair("somebody else").key, "RS256"
    )
    assert graph_session.get(url).ok
    online.expire_access_tokens()
    for bearer in ("", "Bearer x", f"Bearer {forged}", token):
        assert code_of(plain.get(url, headers={"Authorization": bearer})) == (401, "InvalidAuthenticationToken")


def test_a_missing_role_is_named_as_each_service_names_it(online: OnlineSimulator, plain: requests.Session) -> None:
    online.application.roles = ("Mail.Read",)
    bearer = {"Authorization": "Bearer " + sign_in(online, plain, online.client_secret)["access_token"]}
    users, contacts = (f"{online.origin}/v1.0/users{path}" for path in ("", f"/{ANNA}/contacts"))
    assert code_of(plain.get(users, headers=bearer)) == (403, "Authorization_RequestDenied")
    assert code_of(plain.get(contacts, headers=bearer)) == (403, "ErrorAccessDenied")
