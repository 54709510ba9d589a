"""What an answer means that is no SOAP: HTTP statuses, pages for people, and redirects to them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Final

from connectors.port import ConnectorError, NotPermitted, ProtocolViolation, ServerFault, Throttled
from connectors.throttle import retry_after

_PASSING_PAGE: Final = "genericerrorpage"
# Outlook on the web, ISA and TMG, AD FS, Azure AD's proxy: they ask people, who can fill in a form.
_LOGIN_PLACES: Final = ("logon", "login", "signin", "cookieauth.dll", "/adfs/", "/oauth2/", "/saml")
_URL_ADVICE: Final = (
    "The EWS address usually is https://HOST/EWS/Exchange.asmx: syncvault tenant edit TENANT --ews-url URL"
)
_LOGIN_ADVICE: Final = (
    "Let /EWS through without the form: it signs in by itself (pre-authentication off), or give the address of Exchange"
    " itself: syncvault tenant edit TENANT --ews-url URL"
)


def meaning(
    status: int, headers: Mapping[str, str], head: bytes, now: datetime
) -> tuple[ConnectorError, bool, float | None]:
    """What a status says, whether it may pass, and how many seconds the server asks for.

    Args:
        status: The HTTP status.
        headers: The headers, looked up in any case.
        head: How the body begins.
        now: The present instant.
    """
    code = f"http-{status}"
    asked = retry_after(headers.get("Retry-After"), now)
    if status == HTTPStatus.TOO_MANY_REQUESTS or (status == HTTPStatus.SERVICE_UNAVAILABLE and asked is not None):
        return Throttled(f"Exchange is busy (HTTP {status}).", code=code), True, asked
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
        return ServerFault(f"Exchange failed (HTTP {status}).", code=code), True, asked
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        place = headers.get("Location", "").lower()
        if _PASSING_PAGE in place:
            return ServerFault("Exchange failed (error page).", code=code), True, None
        return _elsewhere(status, place), False, None
    return _lasting(status, code, head), False, None


def _elsewhere(status: int, place: str) -> ConnectorError:
    if any(part in place for part in _LOGIN_PLACES):
        return _login_page(f"http-{status}")
    return ProtocolViolation(
        f"The server sends us elsewhere (HTTP {status}), which is not followed.",
        code=f"http-{status}",
        advice=_URL_ADVICE,
    )


def _lasting(status: int, code: str, head: bytes) -> ConnectorError:
    if status == HTTPStatus.FORBIDDEN:
        return NotPermitted(
            "Exchange forbids the service account to use EWS (HTTP 403).",
            code=code,
            advice="Allow EWS for the service account (Set-CASMailbox -EwsEnabled, EwsApplicationAccessPolicy).",
        )
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return ProtocolViolation("Something on the way asks for a password of its own (HTTP 407).", code=code)
    if status == HTTPStatus.OK and is_page(head):
        if b"password" in head.lower():
            return _login_page("login-page")
        return ProtocolViolation("A web page answers instead of EWS.", code="web-page", advice=_URL_ADVICE)
    if status == HTTPStatus.OK:
        return ProtocolViolation("The answer is not SOAP.", code="not-soap", advice=_URL_ADVICE)
    return ProtocolViolation(f"There is no EWS at this address (HTTP {status}).", code=code, advice=_URL_ADVICE)


def _login_page(code: str) -> ConnectorError:
    return ProtocolViolation("A page where people sign in answers instead of EWS.", code=code, advice=_LOGIN_ADVICE)


def is_page(head: bytes) -> bool:
    """Whether a body is a page for people."""
    start = head[:1024].lower()
    return b"<html" in start or b"<!doctype html" in start
