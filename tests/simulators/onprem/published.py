"""What Exchange publishes beside its service: a page for those who come with a browser, the schemas, and the WSDL.

The schemas are Microsoft's own, where they are at hand; the WSDL is made of them. Like Exchange's it names no
address: clients know where they got it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tests.simulators.onprem import contract
from tests.simulators.onprem.soap import MESSAGES, TYPES
from tests.simulators.onprem.transport import Outgoing

FOLDER = "/ews/"
_SCHEMAS = frozenset({"messages.xsd", "types.xsd"})
# Some clients fetch only what Exchange has, others look far away for what a schema takes from elsewhere. It takes one
# attribute, of replies to those who are away.
_FROM_ELSEWHERE = (
    b'<xs:import namespace="http://www.w3.org/XML/1998/namespace" schemaLocation="xml.xsd"/>',
    b'<xs:attribute ref="xml:lang" use="optional"/>',
)
_HTML = (("Content-Type", "text/html; charset=UTF-8"),)
_XML = (("Content-Type", "text/xml"),)
_HEADERS = {  # parts of a request that travel in the header, and the elements they are
    "Impersonation": "ExchangeImpersonation",
    "MailboxCulture": "MailboxCulture",
    "RequestVersion": "RequestServerVersion",
    "TimeZoneContext": "TimeZoneContext",
}


def page(origin: str) -> Outgoing:
    """What stands at the service's own address for those who do not post."""
    wsdl = f"{origin}/EWS/Services.wsdl"
    body = (
        "<html><head><title>Service</title></head><body><h1>Service</h1><p>You have created a service.</p>"
        f'<p>svcutil.exe <a href="{wsdl}">{wsdl}</a></p></body></html>'
    )
    return Outgoing(200, body.encode(), _HTML)


def document(path: str) -> Outgoing:
    """The schema or WSDL at a path in lower case; 404 for everything else, and where there are no schemas."""
    folder, name = contract.schema_folder(), path.removeprefix(FOLDER)
    if folder is not None and name in _SCHEMAS:
        return Outgoing(200, _schema(folder / name), _XML)
    if folder is not None and name == "services.wsdl":
        return Outgoing(200, _wsdl(folder), _XML)
    return Outgoing(404)


@cache
def _schema(path: Path) -> bytes:
    schema = path.read_bytes()
    for part in _FROM_ELSEWHERE:
        schema = schema.replace(part, b"")
    return schema


@cache
def _wsdl(folder: Path) -> bytes:
    """All operations of the schemas, as documents in literal style over SOAP 1.1."""
    pairs = contract.operations(folder)
    return (
        '<?xml version="1.0" encoding="utf-8"?><wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" '
        'xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:xs="http://www.w3.org/2001/XMLSchema" '
        f'xmlns:tns="{MESSAGES}" xmlns:t="{TYPES}" targetNamespace="{MESSAGES}"><wsdl:types><xs:schema>'
        f'<xs:import namespace="{MESSAGES}" schemaLocation="messages.xsd"/></xs:schema></wsdl:types>'
        f"{''.join(_messages(operation, *elements) for operation, elements in pairs.items())}"
        f'<wsdl:portType name="ExchangeServicePortType">{"".join(map(_port, pairs))}</wsdl:portType>'
        '<wsdl:binding name="ExchangeServiceBinding" type="tns:ExchangeServicePortType">'
        '<soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>'
        f"{''.join(map(_bound, pairs))}</wsdl:binding></wsdl:definitions>"
    ).encode()


def _messages(operation: str, request: str, answer: str) -> str:
    headers = "".join(f'<wsdl:part name="{part}" element="t:{element}"/>' for part, element in _HEADERS.items())
    return (
        f'<wsdl:message name="{operation}SoapIn"><wsdl:part name="request" element="tns:{request}"/>{headers}'
        f'</wsdl:message><wsdl:message name="{operation}SoapOut">'
        f'<wsdl:part name="{operation}Result" element="tns:{answer}"/>'
        '<wsdl:part name="ServerVersion" element="t:ServerVersionInfo"/></wsdl:message>'
    )


def _port(operation: str) -> str:
    return (
        f'<wsdl:operation name="{operation}"><wsdl:input message="tns:{operation}SoapIn"/>'
        f'<wsdl:output message="tns:{operation}SoapOut"/></wsdl:operation>'
    )


def _bound(operation: str) -> str:
    headers = "".join(
        f'<soap:header message="tns:{operation}SoapIn" part="{part}" use="literal"/>' for part in _HEADERS
    )
    return (
        f'<wsdl:operation name="{operation}"><soap:operation soapAction="{MESSAGES}/{operation}"/>'
        f'<wsdl:input>{headers}<soap:body parts="request" use="literal"/></wsdl:input>'
        f'<wsdl:output><soap:body parts="{operation}Result" use="literal"/>'
        f'<soap:header message="tns:{operation}SoapOut" part="ServerVersion" use="literal"/></wsdl:output>'
        "</wsdl:operation>"
    )
