"""The EWS simulator's HTTP where clients differ from each other: old ones, odd ones, broken ones, and browsers."""

from __future__ import annotations

import socket

import pytest
from lxml import etree

from connectors.trust import tls_context
from tests.conftest import Authority
from tests.ews_clients import ANNAS, GET_CONTACTS_FOLDER, Soap
from tests.simulators.onprem import contract
from tests.simulators.onprem.server import OnpremSimulator

PATH = "/EWS/Exchange.asmx"
WSDL = "{http://schemas.xmlsoap.org/wsdl/}"


class Wire:
    """Sends bytes as they are, and reads until the server has nothing more to say."""

    def __init__(self, onprem: OnpremSimulator, soap: Soap, authority: Authority) -> None:
        self._address = ("127.0.0.1", onprem.port)
        self._context = tls_context(authority.ca_pem)
        self._authorization = str(soap.session.headers["Authorization"])
        self._body = soap.envelope(GET_CONTACTS_FOLDER, as_=ANNAS)

    def request(self, *fields: str, version: str = "HTTP/1.1", body: bytes | None = None) -> bytes:
        """A good request but for what is given; a length among the fields goes in place of the true one."""
        content = self._body if body is None else body
        named = "".join(fields).casefold()
        length = "" if "content-length" in named or "transfer-encoding" in named else f"Content-Length: {len(content)}"
        known = (f"Authorization: {self._authorization}", "Host: localhost", "Content-Type: text/xml", length)
        head = "\r\n".join([f"POST {PATH} {version}", *(line for line in (*known, *fields) if line)])
        return f"{head}\r\n\r\n".encode() + content

    def say(self, *parts: bytes) -> bytes:
        """The answer to these bytes, up to the end of the connection."""
        with (
            socket.create_connection(self._address, timeout=20) as plain,
            self._context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            connection.sendall(b"".join(parts))
            return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture
def wire(onprem: OnpremSimulator, soap: Soap, authority: Authority) -> Wire:
    return Wire(onprem, soap, authority)


class TestClients:
    def test_one_of_http_1_0_is_answered_and_left(self, wire: Wire) -> None:
        answer = wire.say(wire.request(version="HTTP/1.0"))
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"Connection:" not in answer

    def test_one_of_http_1_0_may_ask_to_stay(self, wire: Wire) -> None:
        answer = wire.say(wire.request("Connection: keep-alive", version="HTTP/1.0"), wire.request(version="HTTP/1.0"))
        assert answer.count(b"HTTP/1.1 200") == 2
        assert answer.count(b"Connection: keep-alive") == 1

    def test_one_may_ask_again_before_it_was_answered(self, wire: Wire) -> None:
        answer = wire.say(wire.request(), wire.request("Connection: close"))
        assert answer.count(b"<m:ResponseCode>NoError</m:ResponseCode>") == 2

    @pytest.mark.parametrize("length", ["many", "-5", "1e3"])
    def test_a_length_that_is_none_is_a_bad_request(self, wire: Wire, length: str) -> None:
        assert wire.say(wire.request(f"Content-Length: {length}")).startswith(b"HTTP/1.1 400 Bad Request\r\n")

    def test_chunks_that_are_none_are_a_bad_request(self, wire: Wire) -> None:
        answer = wire.say(wire.request("Transfer-Encoding: chunked", body=b"here\r\n0\r\n\r\n"))
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")

    def test_what_is_no_http_is_a_bad_request(self, wire: Wire) -> None:
        assert wire.say(b"MAIL FROM\r\n\r\n").startswith(b"HTTP/1.1 400 ")


class TestTheAddressItself:
    def test_a_browser_is_shown_where_the_description_is(self, soap: Soap) -> None:
        answer = soap.session.get(soap.simulator.url, timeout=20)
        assert answer.status_code == 200
        assert "/EWS/Services.wsdl" in answer.text

    def test_a_head_is_all_that_was_asked_for(self, soap: Soap) -> None:
        answer = soap.session.head(soap.simulator.url, timeout=20)
        assert (answer.status_code, answer.content) == (200, b"")
        assert int(answer.headers["Content-Length"]) > 0

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
    def test_other_methods_are_not_allowed(self, soap: Soap, method: str) -> None:
        answer = soap.session.request(method, soap.simulator.url, timeout=20)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, POST")

    def test_nobody_learns_anything_without_signing_in(self, soap: Soap) -> None:
        del soap.session.headers["Authorization"]
        assert [
            soap.session.request(method, soap.simulator.url, timeout=20).status_code
            for method in ("GET", "HEAD", "OPTIONS")
        ] == [401] * 3

    @pytest.mark.parametrize("kind", ["application/soap+xml; charset=utf-8", "application/json"])
    def test_what_says_that_it_is_no_soap_1_1_is_not_read(self, soap: Soap, kind: str) -> None:
        assert soap.post(soap.envelope(GET_CONTACTS_FOLDER, as_=ANNAS), **{"Content-Type": kind}).status == 415


class TestAutodiscover:
    @pytest.mark.parametrize(
        ("method", "body"),
        [("GET", None), ("POST", b""), ("POST", b"junk"), ("POST", b"<a/>"), ("POST", b"<!DOCTYPE a><a/>")],
    )
    def test_what_asks_for_nobody_is_an_invalid_request(self, soap: Soap, method: str, body: bytes | None) -> None:
        url = soap.simulator.url.replace(PATH, "/Autodiscover/Autodiscover.xml")
        answer = soap.session.request(method, url, data=body, timeout=20)
        assert (answer.status_code, "<ErrorCode>600</ErrorCode>" in answer.text) == (200, True)


class TestDescription:
    @pytest.fixture
    def described(self, soap: Soap) -> etree._Element:
        if contract.schema_folder() is None:
            pytest.skip("needs the schemas")
        return etree.fromstring(self._get(soap, "Services.wsdl"))

    def test_it_has_every_operation_once(self, described: etree._Element) -> None:
        names = [operation.get("name") for operation in described.find(f"{WSDL}binding").iter(f"{WSDL}operation")]
        assert len(names) == len(set(names)) > 60
        assert {"GetFolder", "SyncFolderItems", "FindPeople", "GetPersona", "GetUserPhoto"} <= set(names)

    def test_it_names_no_address_as_exchange_does_not(self, described: etree._Element) -> None:
        assert described.find(f"{WSDL}service") is None

    def test_all_that_it_points_to_is_there(self, described: etree._Element, soap: Soap) -> None:
        pending, seen = {"Services.wsdl"}, set()
        while pending - seen:
            name = min(pending - seen)
            seen.add(name)
            imported = etree.fromstring(self._get(soap, name)).iter("{http://www.w3.org/2001/XMLSchema}import")
            pending |= {element.get("schemaLocation") for element in imported} - {None}
        assert seen == {"Services.wsdl", "messages.xsd", "types.xsd"}

    @staticmethod
    def _get(soap: Soap, name: str) -> bytes:
        answer = soap.session.get(soap.simulator.url.replace("Exchange.asmx", name), timeout=20)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/xml")
        return bytes(answer.content)
