"""From a domain to the address of its EWS, as Outlook finds it: POX autodiscover over TLS, within the domain alone.

Sources: Microsoft, "Autodiscover for Exchange", "Generate a list of Autodiscover endpoints", "Handling Autodiscover
error messages", "POX Autodiscover response".

Two of Outlook's ways are left out, those that begin with an unsigned word: a redirection from plain http, and the SRV
record `_autodiscover._tcp`. To keep what they name within the domain, with TLS verified, would not make them safe.
Whoever can forge one packet would choose which of all the domain's hosts is shown the service account's sign-in: the
one that is badly kept, or a forgotten name that others have taken over and hold a good certificate for. Basic hands
that host the password, NTLM something to relay or to guess it from. So nobody is asked but the two names that follow
from the domain itself and those that they lead to over TLS. Where neither exists (one certificate, for one name), the
administrator says that name once by --ews-url.
"""

from __future__ import annotations

import logging
import re
import ssl
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urljoin, urlsplit

from lxml import etree
from requests import Response, Session
from requests.auth import AuthBase

from connectors.ews.settings import EwsCredential, EwsSettings
from connectors.ews.sign_in.guard import Guard
from connectors.ews.sign_in.methods import SignIn, way_to_sign_in
from connectors.ews.wire.bodies import blocks
from connectors.ews.wire.breaks import PassingFaultError, translated
from connectors.ews.wire.soap import AnswerTooLargeError
from connectors.ews.wire.transport import bare_session, trusted
from connectors.port import ConnectorError, CredentialRejected, ProtocolViolation, ServerFault, Unreachable
from connectors.throttle import utc_now

log = logging.getLogger(__name__)

_PATH: Final = "/autodiscover/autodiscover.xml"
_ASKED: Final = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
_WANTED: Final = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
_ANSWER_LIMIT: Final = 1024 * 1024
_TIMEOUTS: Final = (10.0, 30.0)
_NOBODY_THERE: Final = frozenset({"unreachable", "timed-out"})
_HOPS: Final = 3  # places asked, one leading to the next
_NO_MAILBOX: Final = frozenset({"500", "501"})  # "[MS-OXDSCLI] ErrorCode"
_NO_TICKET: Final = frozenset({"service-principal", "service-key"})  # of this host; there may be one for another
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ADVICE: Final = "Give the address itself: --ews-url https://HOST/EWS/Exchange.asmx"
_TICKET_ADVICE: Final = f"Register autodiscover's name (setspn -S HTTP/HOST ACCOUNT), or another way: {_ADVICE}"
_CERTIFICATE_ADVICE: Final = f"Name the authority that signed it: --ca-bundle FILE. {_ADVICE}"


class _NotHereError(Exception):
    """There is no autodiscover at this place; `error` is what stands in the way of knowing, if anything does."""

    def __init__(self, error: ConnectorError | None = None) -> None:
        super().__init__("no autodiscover here")
        self.error = error


@dataclass(frozen=True, slots=True)
class _Found:
    """What an answer leads to: EWS, or somewhere else to ask (a place, or under another address)."""

    ews_urls: tuple[str, ...] = ()
    url: str = ""
    address: str = ""
    by_anybody: bool = False  # a redirection of HTTP, which any web site gives


def discover(username: str, credential: EwsCredential, domain: str, *, ca_pem: str = "") -> str:
    """What `connectors.ews.discover` says, and how.

    The credential is shown only to a server of the domain that asks for it, and never again once it was refused.

    Raises:
        CredentialRejected: It was refused.
        ProtocolViolation: The domain is none, or its autodiscover leads to plain http or elsewhere.
        ConnectorError: There is no autodiscover, or it could not be asked.
    """
    home = _normal(domain)
    search = _Search(username, credential, home, ca_pem)
    hindrance: ConnectorError | None = None
    # Outlook asks the bare domain first. That is often a web site which others run; they see our sign-in only if
    # there is no other place.
    for host in (f"autodiscover.{home}", home):
        try:
            return search.from_place(f"https://{host}{_PATH}")
        except _NotHereError as nothing:
            hindrance = hindrance or nothing.error
    raise hindrance or Unreachable("No autodiscover was found for the domain.", code="autodiscover", advice=_ADVICE)


class _Search:
    def __init__(self, username: str, credential: EwsCredential, domain: str, ca_pem: str) -> None:
        self._settings = EwsSettings("", username, credential, ca_pem)
        self._domain = domain
        self._context: ssl.SSLContext = trusted(self._settings)
        self._guard: Guard | None = None
        name = username.rpartition("\\")[2].partition("@")[0]
        self._address = username if username.lower().endswith(f"@{domain}") else f"{name}@{domain}"

    def from_place(self, url: str) -> str:
        """The address of EWS, beginning at one place."""
        address = self._address
        for _ in range(_HOPS):
            found = self._ask(url, address)
            if found.ews_urls:
                return self._answering(self._acceptable(*found.ews_urls))
            if found.url:
                url = self._acceptable(found.url)[0]
            elif found.address.lower().endswith(f"@{self._domain}"):
                address = found.address
            else:
                raise ProtocolViolation(
                    "Autodiscover leads to another domain.", code="autodiscover-foreign", advice=_ADVICE
                )
        loop = ProtocolViolation("Autodiscover leads on and on.", code="autodiscover-loop", advice=_ADVICE)
        if found.by_anybody:
            raise _NotHereError(loop)
        raise loop

    def _acceptable(self, *urls: str) -> list[str]:
        """Those that are https and within the domain, each once; one at least."""
        fitting: list[str] = []
        for url in dict.fromkeys(urls):
            try:
                parts = urlsplit(url)
                host = (parts.hostname or "").rstrip(".").lower()
                fits = parts.scheme == "https" and "@" not in parts.netloc and parts.port != 0
            except ValueError:
                continue
            if fits and (host == self._domain or host.endswith(f".{self._domain}")):
                fitting.append(url)
        if fitting:
            return fitting
        plain = all(url.lower().startswith("http://") for url in urls)
        raise ProtocolViolation(
            f"Autodiscover leads to {'plain http' if plain else 'another domain'}.",
            code="autodiscover-http" if plain else "autodiscover-foreign",
            advice=_ADVICE,
        )

    def _answering(self, urls: list[str]) -> str:
        """Of several addresses the first that asks who we are: one may be meant for inside the company alone."""
        for url in urls if len(urls) > 1 else ():
            try:
                with (
                    bare_session(self._context) as session,
                    translated(known=False),
                    session.get(url, allow_redirects=False, timeout=_TIMEOUTS, stream=True) as response,
                ):
                    if response.status_code == HTTPStatus.UNAUTHORIZED:
                        return url
            except (PassingFaultError, ConnectorError):
                continue
        return urls[0]

    def _ask(self, url: str, address: str) -> _Found:
        sign_in = way_to_sign_in(
            EwsSettings(url, self._settings.username, self._settings.credential),
            self._context,
            sleep=time.sleep,
            now=utc_now,
        )
        try:
            # One guard for all places: once refused, or its verdict lost, the credential is shown nowhere any more.
            self._guard = self._guard or Guard(lambda: CredentialRejected(sign_in.refused, code="http-401"))
            with bare_session(self._context, self._guard) as session:
                status, location, body = self._post(session, url, address, sign_in, None)
                if status == HTTPStatus.UNAUTHORIZED:
                    status, location, body = self._post(session, url, address, sign_in, sign_in.auth())
        finally:
            sign_in.close()
        if status == HTTPStatus.UNAUTHORIZED:
            raise CredentialRejected(sign_in.refused, code="http-401")
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST and location:
            return _Found(url=self._redirected(url, location), by_anybody=True)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _NotHereError(ServerFault(f"Autodiscover failed (HTTP {status}).", code=f"http-{status}"))
        if status != HTTPStatus.OK:
            raise _NotHereError
        return _read(body)

    def _redirected(self, url: str, location: str) -> str:
        """Where a place sends us that may be any web site: out of the domain means that there is no autodiscover."""
        try:
            return self._acceptable(urljoin(url, location))[0]
        except ValueError:
            raise _NotHereError from None
        except ProtocolViolation as error:
            raise _NotHereError(error) from None

    def _post(
        self, session: Session, url: str, address: str, sign_in: SignIn, auth: AuthBase | None
    ) -> tuple[int, str, bytes]:
        try:
            with (
                translated(known=False),
                session.post(
                    url,
                    data=_request(address),
                    headers={"X-AnchorMailbox": address} if address.isascii() and address.isprintable() else {},
                    auth=auth,
                    allow_redirects=False,
                    timeout=_TIMEOUTS,
                    stream=True,
                ) as response,
            ):
                offers = response.headers.get("WWW-Authenticate", "")
                is_asked = response.status_code == HTTPStatus.UNAUTHORIZED and auth is None
                if is_asked and not sign_in.is_offered(offers):
                    raise _NotHereError(
                        ProtocolViolation(
                            "Autodiscover does not offer this way to sign in.", code="sign-in-method", advice=_ADVICE
                        )
                    )
                log.debug("autodiscover: HTTP %d", response.status_code)
                return response.status_code, response.headers.get("Location", ""), _whole(response)
        except PassingFaultError as fault:
            raise _NotHereError(fault.error) from None
        except ProtocolViolation as error:
            if error.code in _NO_TICKET:
                raise _NotHereError(ProtocolViolation(error.message, code=error.code, advice=_TICKET_ADVICE)) from None
            raise
        except Unreachable as error:
            if error.code in _NOBODY_THERE:
                raise _NotHereError from None
            if "certificate" in error.code:
                advice = _CERTIFICATE_ADVICE if error.code == "untrusted-certificate" else _ADVICE
                raise _NotHereError(Unreachable(error.message, code=error.code, advice=advice)) from None
            raise


def _normal(domain: str) -> str:
    try:
        name = domain.strip().rstrip(".").lower().encode("idna").decode()
    except UnicodeError:
        name = ""
    if not _DOMAIN.fullmatch(name):
        raise ProtocolViolation("This is no domain that could be asked.", code="domain", advice=_ADVICE)
    return name


def _request(address: str) -> bytes:
    root = etree.Element(f"{{{_ASKED}}}Autodiscover")
    request = etree.SubElement(root, f"{{{_ASKED}}}Request")
    etree.SubElement(request, f"{{{_ASKED}}}EMailAddress").text = address
    etree.SubElement(request, f"{{{_ASKED}}}AcceptableResponseSchema").text = _WANTED
    return etree.tostring(root, encoding="utf-8", xml_declaration=True)


def _whole(response: Response) -> bytes:
    try:
        return b"".join(blocks(response, _ANSWER_LIMIT))
    except AnswerTooLargeError:
        raise _NotHereError from None


def _read(body: bytes) -> _Found:
    """What an answer says; pages for people are none."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise _NotHereError from None
    if b"<!DOCTYPE" in body or etree.QName(root).localname != "Autodiscover":
        raise _NotHereError
    error = _text(root, "ErrorCode")
    if error:
        raise ProtocolViolation(
            "Autodiscover knows no mailbox of the service account."
            if error in _NO_MAILBOX
            else "Autodiscover could not answer.",
            code=f"autodiscover-{error}" if error.isdecimal() else "autodiscover",
            advice=_ADVICE,
        )
    found = _Found(
        # As Exchange lists them: the address inside the company before that from outside.
        ews_urls=tuple(filter(None, ((one.text or "").strip() for one in root.iter(f"{{{_WANTED}}}EwsUrl")))),
        url=_text(root, "RedirectUrl"),
        address=_text(root, "RedirectAddr"),
    )
    if found == _Found():
        raise ProtocolViolation("Autodiscover names no EWS.", code="autodiscover", advice=_ADVICE)
    return found


def _text(root: etree._Element, name: str) -> str:
    found = next(root.iter(f"{{*}}{name}"), None)
    return "" if found is None else (found.text or "").strip()
