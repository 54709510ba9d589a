"""POX autodiscover: what Exchange answers, and what stands at such addresses that is not Exchange."""

from __future__ import annotations

from tests.simulators.onprem.soap import SoapFault, parse, text
from tests.simulators.onprem.transport import Outgoing

PATH = "/autodiscover/autodiscover.xml"
_OUTER = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
_WANTED = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
_ASKED = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
_XML = (("Content-Type", "text/xml; charset=utf-8"),)
_INVALID = (  # said to whatever is no question, a browser's GET among it
    f'<?xml version="1.0" encoding="utf-8"?><Autodiscover xmlns="{_OUTER}"><Response><Error Time="10:00:00" Id="1">'
    "<ErrorCode>600</ErrorCode><Message>Invalid Request</Message><DebugData/></Error></Response></Autodiscover>"
).encode()


def settings(*ews_urls: str) -> bytes:
    """A mailbox is here; EWS has these addresses, seen from inside and from outside. Other services are there too."""
    kinds = ("EXCH", "EXPR", "EXHTTP")
    other = "https://other.example.com"
    protocols = "".join(
        f"<Protocol><Type>{kind}</Type><Server>mail</Server><ASUrl>{other}/EWS/Exchange.asmx</ASUrl>"
        f"<EwsUrl>{text(url)}</EwsUrl><OOFUrl>{other}/EWS/Exchange.asmx</OOFUrl></Protocol>"
        for kind, url in zip(kinds, ews_urls, strict=False)
    )
    web = f"<Protocol><Type>WEB</Type><Internal><OWAUrl>{other}/owa/</OWAUrl></Internal></Protocol>"
    return _answer(f"<Account><AccountType>email</AccountType><Action>settings</Action>{protocols}{web}</Account>")


def redirect_url(url: str) -> bytes:
    """Another server is to be asked."""
    return _answer(f"<Account><Action>redirectUrl</Action><RedirectUrl>{text(url)}</RedirectUrl></Account>")


def redirect_address(address: str) -> bytes:
    """The mailbox has another address."""
    return _answer(f"<Account><Action>redirectAddr</Action><RedirectAddr>{text(address)}</RedirectAddr></Account>")


def error(code: int) -> bytes:
    """It cannot be told."""
    told = f'<Error Time="10:00:00" Id="1"><ErrorCode>{code}</ErrorCode><Message>No.</Message><DebugData/></Error>'
    return _answer(told)


def page(status: int = 200, location: str = "") -> Outgoing:
    """A web site, which has never heard of autodiscover."""
    headers = (("Content-Type", "text/html"), *([("Location", location)] if location else []))
    return Outgoing(status, b"<!DOCTYPE html><html><body><h1>Welcome</h1></body></html>", headers)


def _answer(content: str) -> bytes:
    head = f'<?xml version="1.0" encoding="utf-8"?><Autodiscover xmlns="{_OUTER}">'
    return f'{head}<Response xmlns="{_WANTED}">{content}</Response></Autodiscover>'.encode()


class Autodiscover:
    """What the server says to those who ask where their mailbox is.

    Attributes:
        answers: What is said in turn to those who have signed in; the last one stays.
        unsigned: By host, what is said to everybody without asking who it is; "" for all hosts.
        asked: Host and address of each question that was answered after signing in.
        hosts: Every host that somebody came to.
    """

    def __init__(self, ews_url: str) -> None:
        self.answers = [settings(ews_url)]
        self.unsigned: dict[str, Outgoing] = {}
        self.asked: list[tuple[str, str]] = []
        self.hosts: list[str] = []

    def before_sign_in(self, host: str) -> Outgoing | None:
        """What somebody hears who may not even have to sign in."""
        self.hosts.append(host)
        return self.unsigned.get(host, self.unsigned.get(""))

    def answer(self, host: str, body: bytes) -> Outgoing:
        """The answer to a question, in the form that it has to have."""
        try:
            address = parse(body).findtext(f"{{{_ASKED}}}Request/{{{_ASKED}}}EMailAddress") or ""
        except SoapFault:
            address = ""
        if not address:
            return Outgoing(200, _INVALID, _XML)
        self.asked.append((host, address))
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return Outgoing(200, said, _XML)
