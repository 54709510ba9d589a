"""What Entra's refusals mean: its codes into what an administrator can do.

Source: "Microsoft Entra authentication and authorization error codes" (Microsoft Learn), and Entra's own messages for
codes that the page leaves out. The codes may change; one that is not known here is passed on with no advice of ours.
"""

from __future__ import annotations

import json
import re
from typing import Final, NoReturn

from connectors.graph.wire.transport import Answer
from connectors.port import CredentialRejected, ProtocolViolation

_AADSTS: Final = re.compile(r"AADSTS(\d{4,8})")
_WORD: Final = re.compile(r"\w{1,60}")
_PASSING: Final = frozenset({"temporarily_unavailable", "server_error"})
_PASSING_CODES: Final = frozenset({50033, 90006, 90012, 90024, 90025, 90033, 90055, 90090})
_ROTATE: Final = " A registered tenant then needs: syncvault credential rotate TENANT"
_CERTIFICATE: Final = "Entra does not know this certificate, or its time is over: upload its public part." + _ROTATE
_DIRECTORY: Final = "Entra knows no such directory: check the directory ID and the cloud."
_APPLICATION: Final = (
    "Entra knows no such application in this directory: check the client ID and the directory ID,"
    " and that an administrator has consented."
)
_DISABLED: Final = "The application is disabled in Entra: enable it there."
_CONSENT: Final = "An administrator has to consent to the application's permissions in Entra."
_GRAPH: Final = "The directory does not know Graph at this address: check the cloud and --graph-url."
_POLICY: Final = "A Conditional Access policy blocks this application: allow it from this machine's address."
_CLOCK: Final = (
    "The signature is outside its time: check this machine's clock, and that the token in a federated token's file is"
    " fresh."
)
_TRUST: Final = (
    "The application trusts no such workload: compare issuer, subject and audience of its federated credential in"
    " Entra with those of the token."
)
_FEDERATION: Final = (
    "The directory does not allow workload identity federation: allow it, or take a certificate." + _ROTATE
)
_ISSUER: Final = "A token that Entra issued itself cannot serve here: take one of an issuer outside." + _ROTATE
_ACCOUNT: Final = "This is no application of the directory: check the client ID and the directory ID."
_ADVICE: Final = {
    # the credential itself
    7000215: "The client secret is wrong: copy the secret's value, not its ID." + _ROTATE,
    7000222: "The client secret has expired: make a new one in Entra." + _ROTATE,
    70002: "The client secret is wrong: copy the secret's value, not its ID." + _ROTATE,
    7000216: "Entra saw no credential: a proxy may have cut the request.",
    7000218: "Entra saw no credential: a proxy may have cut the request.",
    700027: _CERTIFICATE,
    7000214: _CERTIFICATE,
    50012: _CERTIFICATE,
    700030: "The certificate's subject is not allowed for this application: check its trusted certificates in Entra.",
    700023: "The signature was made for another directory: check --authority and the cloud.",
    700024: _CLOCK,
    50027: "The signature or the federated token is malformed: take the file as the platform wrote it.",
    50013: "The federated token is malformed or out of date: check its file.",
    700025: "The application is registered as a public client: give it a certificate or a secret in Entra.",
    # trust in a workload
    70021: _TRUST,
    700211: _TRUST,
    700212: _TRUST,
    700213: _TRUST,
    7002131: _TRUST,
    70025: "The application has no federated credential: add one in Entra under certificates and secrets.",
    700222: _ISSUER,
    700226: _ISSUER,
    700223: _FEDERATION,
    700238: _FEDERATION,
    # the application
    700016: _APPLICATION,
    700011: _APPLICATION,
    70001: _DISABLED,
    7000112: _DISABLED,
    50105: "The application is not assigned: assign it in Entra under enterprise applications.",
    50194: "The application serves its own directory only: make it multi-tenant, or register one in this directory.",
    65001: _CONSENT,
    650056: _CONSENT,
    90008: _CONSENT,
    90093: _CONSENT,
    # the directory and its services
    90002: _DIRECTORY,
    900023: _DIRECTORY,
    50059: _DIRECTORY,
    50128: _DIRECTORY,
    90038: "The directory is in another of Microsoft's clouds: check --cloud.",
    900382: "The directory is in another of Microsoft's clouds: check --cloud.",
    900432: "The directory is in another of Microsoft's clouds: check --cloud.",
    50001: _GRAPH,
    500011: _GRAPH,
    650057: _GRAPH,
    650052: "The directory has no subscription that holds Graph's services: look at its licences.",
    50020: _ACCOUNT,
    50034: _ACCOUNT,
    50126: _ACCOUNT,
    90072: _ACCOUNT,
    # policies
    53003: _POLICY,
    530032: _POLICY,
    50131: _POLICY,
    530035: "The directory's security defaults block this application: see its sign-in log in Entra.",
    50002: "Restrictions on tenants, set at a proxy, keep this directory out: allow it there.",
    500021: "Restrictions on tenants, set at a proxy, keep this directory out: allow it there.",
    500022: "Restrictions on tenants, set at a proxy, keep this directory out: allow it there.",
    50053: "Entra blocks this address for a while after many refusals: wait, and look at its sign-in log.",
    50196: "Entra saw the same request too often: run syncvault once, not several copies of it.",
    1002016: "Something between here and Entra speaks an outdated TLS: look at the proxy.",
}


def error_of(answer: Answer) -> tuple[str, int]:
    """The OAuth error and the number of Entra's code, empty and 0 where missing. The description names people."""
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return "", 0
    if not isinstance(body, dict):
        return "", 0
    error, description, numbers = body.get("error"), body.get("error_description"), body.get("error_codes")
    if isinstance(numbers, list) and numbers and isinstance(numbers[0], int):
        number = numbers[0]
    else:
        match = _AADSTS.search(description) if isinstance(description, str) else None
        number = int(match.group(1)) if match else 0
    return (error if isinstance(error, str) and _WORD.fullmatch(error) else ""), number


def is_passing(answer: Answer) -> bool:
    """Whether Entra says that it is worth another try."""
    error, number = error_of(answer) if answer.status >= 400 else ("", 0)
    return error in _PASSING or number in _PASSING_CODES


def refuse(answer: Answer) -> NoReturn:
    """Raises what an answer that is no token means.

    Raises:
        CredentialRejected: Entra says no; with its code, and what to do where that is known.
        ProtocolViolation: It is no answer of Entra's.
    """
    if answer.is_html or answer.status < 400:
        raise ProtocolViolation("The sign-in service answers with something else than a token.")
    error, number = error_of(answer)
    code = f"AADSTS{number}" if number else error
    if not code:
        raise ProtocolViolation(f"The sign-in service answers HTTP {answer.status} without saying why.")
    raise CredentialRejected(
        f"Entra refused the application's credential ({code}).", code=code, advice=_ADVICE.get(number, "")
    )
