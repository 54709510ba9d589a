"""A wire with an Exchange of paper at its end: scripted answers instead of a server, for unit tests."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

from lxml import etree
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

from connectors.ews import EwsSettings, Password
from connectors.ews.sign_in.guard import Guard
from connectors.ews.wire.operations import MESSAGES, TYPES

URL = "https://mail.example.com/EWS/Exchange.asmx"
SETTINGS = EwsSettings(URL, "EXAMPLE\\svc-sync", Password("pässword".encode(), "basic"))
NOW = datetime(2027, 1, 1, tzinfo=UTC)
NAMESPACES = {"m": MESSAGES, "t": TYPES, "s": "http://schemas.xmlsoap.org/soap/envelope/"}

HEAD = (
    '<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">'
    '<s:Header><h:ServerVersionInfo MajorVersion="15" MinorVersion="1" Version="V2016_10_10"'
    ' xmlns:h="http://schemas.microsoft.com/exchange/services/2006/types"/></s:Header>'
    f'<s:Body xmlns:m="{MESSAGES}" xmlns:t="{TYPES}">'
)
TAIL = "</s:Body></s:Envelope>"


def answer(operation: str, *contents: str) -> str:
    """An answer whose response messages succeed with these contents."""
    return messages(operation, *(success(operation, content) for content in contents))


def success(operation: str, content: str) -> str:
    name = f"m:{operation}ResponseMessage"
    return f'<{name} ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>{content}</{name}>'


def error(operation: str, code: str, extra: str = "") -> str:
    name = f"m:{operation}ResponseMessage"
    return (
        f'<{name} ResponseClass="Error"><m:MessageText>No.</m:MessageText><m:ResponseCode>{code}</m:ResponseCode>'
        f"<m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>{extra}</{name}>"
    )


def messages(operation: str, *parts: str) -> str:
    listed = "".join(parts)
    return (
        f"{HEAD}<m:{operation}Response><m:ResponseMessages>{listed}</m:ResponseMessages></m:{operation}Response>{TAIL}"
    )


def fault(code: str, values: str = "") -> str:
    return (
        f'{HEAD}<s:Fault><faultcode xmlns:a="{TYPES}">a:{code}</faultcode><faultstring xml:lang="en">No.</faultstring>'
        '<detail><e:ResponseCode xmlns:e="http://schemas.microsoft.com/exchange/services/2006/errors">'
        f"{code}</e:ResponseCode><t:MessageXml>{values}</t:MessageXml></detail></s:Fault>{TAIL}"
    )


NOBODY = messages("ResolveNames", error("ResolveNames", "ErrorNameResolutionNoResults"))


@dataclass(slots=True)
class Seen:
    """One request as it went out."""

    headers: dict[str, str]
    envelope: etree._Element

    @property
    def operation(self) -> str:
        return etree.QName(self.envelope.find("s:Body", NAMESPACES)[0]).localname

    def find(self, path: str) -> list[Any]:
        return self.envelope.xpath(path, namespaces=NAMESPACES)


Reply = str | bytes | tuple[int, dict[str, str], str | bytes] | Exception | Callable[[Seen], Any]


@dataclass(slots=True)
class Wire:
    """Answers requests in the order of `replies`; what is left of them when a test ends was not asked for.

    A reply that answers another operation waits for it: of two requests at the same time, either may come first.
    """

    replies: list[Reply] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    offers: str = "Basic"  # ways to sign in; none is refused to who asks for nothing

    def reply(self, *replies: Reply) -> Wire:
        self.replies.extend(replies)
        return self

    def take(self, operation: str) -> Reply:
        """The reply to a request."""
        fitting = [reply for reply in self.replies if _answers(reply, operation)]
        reply = self.replies[0] if not fitting or _may_answer(self.replies[0], operation) else fitting[0]
        self.replies.remove(reply)
        return reply

    @property
    def operations(self) -> list[str]:
        return [request.operation for request in self.seen]

    def seen_of(self, operation: str) -> list[Seen]:
        """The requests of one kind, in their order."""
        return [request for request in self.seen if request.operation == operation]


def _answers(reply: Reply, operation: str) -> bool:
    return isinstance(reply, str) and f"<m:{operation}Response>" in reply


def _may_answer(reply: Reply, operation: str) -> bool:
    """Whether a reply is meant for this operation, or for whatever comes next: faults, failures, pages."""
    return _answers(reply, operation) or not isinstance(reply, str) or "Response><m:ResponseMessages>" not in reply


class _Adapter(BaseAdapter):
    guard: Guard
    connections = 1
    is_connected = True

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        return self.guard.let_out(request, lambda: self._send(request))

    def _send(self, request: PreparedRequest) -> Response:
        if request.method == "GET":  # asks for nothing but to be signed in
            if self._wire.replies and isinstance(self._wire.replies[0], Exception):
                raise self._wire.replies.pop(0)  # type: ignore[misc]
            shown = request.headers.get("Authorization", "").partition(" ")[0]
            status = 200 if shown in self._wire.offers else 401
            return self._response(request, status, {"WWW-Authenticate": self._wire.offers}, b"")
        seen = Seen(dict(request.headers), etree.fromstring(request.body or b""))
        self._wire.seen.append(seen)
        reply: Any = self._wire.take(seen.operation)
        if callable(reply):
            reply = reply(seen)
        if isinstance(reply, Exception):
            raise reply
        status, headers, body = reply if isinstance(reply, tuple) else (200, {}, reply)
        return self._response(request, status, headers, body.encode() if isinstance(body, str) else body)

    @staticmethod
    def _response(request: PreparedRequest, status: int, headers: dict[str, str], body: bytes) -> Response:
        response = Response()
        response.status_code, response.request, response.url = status, request, URL
        response.headers.update(headers)
        response.raw = HTTPResponse(io.BytesIO(body), headers=headers, status=status, preload_content=False)
        return response

    def close(self) -> None:
        pass


@contextmanager
def paper_exchange() -> Iterator[Wire]:
    """A wire that every connector made inside is plugged into."""
    wire = Wire()
    with patch("connectors.ews.wire.transport.SignInAdapter", lambda *args, **kwargs: _Adapter(wire)):
        yield wire
