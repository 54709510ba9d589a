"""Envelopes: reading requests safely, writing answers and faults the way Exchange words them.

Answers are written as text in the schema's element order; `text` is the only way a value gets in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from lxml import etree

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
MESSAGES = "http://schemas.microsoft.com/exchange/services/2006/messages"
TYPES = "http://schemas.microsoft.com/exchange/services/2006/types"
ERRORS = "http://schemas.microsoft.com/exchange/services/2006/errors"

M, T, S = f"{{{MESSAGES}}}", f"{{{TYPES}}}", f"{{{SOAP}}}"
NAMESPACES = {"m": MESSAGES, "t": TYPES, "s": SOAP}

SERVER_VERSIONS = frozenset(
    {
        "Exchange2007",
        "Exchange2007_SP1",
        "Exchange2010",
        "Exchange2010_SP1",
        "Exchange2010_SP2",
        "Exchange2013",
        "Exchange2013_SP1",
        "Exchange2015",
        "Exchange2016",
    }
)

_NOT_XML = re.compile("[^\\t\\n\\r\\u0020-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
# A bare carriage return would reach a reader as a line feed.
_REFERENCES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("\r", "&#xD;"))
_HEAD = (
    '<?xml version="1.0" encoding="utf-8"?>'
    f'<s:Envelope xmlns:s="{SOAP}"><s:Header><h:ServerVersionInfo MajorVersion="15" MinorVersion="1" '
    f'MajorBuildNumber="2507" MinorBuildNumber="39" Version="V2017_07_11" xmlns:h="{TYPES}"/></s:Header>'
    f'<s:Body xmlns:m="{MESSAGES}" xmlns:t="{TYPES}">'
)
_FOOT = "</s:Body></s:Envelope>"


class EwsError(Exception):
    """One thing asked for failed; the answer says so in its response message and goes on with the next."""

    def __init__(self, code: str, message: str = "", *, values: dict[str, str] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.values = values or {}
        self.message = message or SENTENCES.get(code, "The operation failed.")


class SoapFault(Exception):
    """The whole request failed."""

    def __init__(
        self, code: str, message: str = "", *, values: dict[str, str] | None = None, status: int = 500
    ) -> None:
        super().__init__(code)
        self.code = code
        self.message = message or SENTENCES.get(code, "The request failed.")
        self.values = values or {}
        self.status = status


SENTENCES = {
    "ErrorAccessDenied": "Access is denied. Check credentials and try again.",
    "ErrorChangeKeyRequiredForWriteOperations": "The change key is required for this operation.",
    "ErrorContentConversionFailed": "Content conversion failed.",
    "ErrorCorruptData": "The data is corrupt.",
    "ErrorExceededConnectionCount": "You have exceeded the available concurrent connections for your account.",
    "ErrorFolderNotFound": "The specified folder could not be found in the store.",
    "ErrorImpersonateUserDenied": "The account does not have permission to impersonate the requested user.",
    "ErrorInternalServerError": "An internal server error occurred. The operation failed.",
    "ErrorInternalServerTransientError": "An internal server error occurred. Try again later.",
    "ErrorInvalidIdMalformed": "Id is malformed.",
    "ErrorInvalidRequest": "The request is invalid.",
    "ErrorInvalidSchemaVersionForMailboxVersion": "The mailbox is on a server that does not know this schema version.",
    "ErrorInvalidServerVersion": "The specified server version is invalid.",
    "ErrorInvalidSyncStateData": "Synchronization state data is corrupt or otherwise invalid.",
    "ErrorIrresolvableConflict": (
        "The send or update operation could not be performed because the change key passed in the request does not "
        "match the current change key for the item."
    ),
    "ErrorItemCorrupt": "The item is corrupt.",
    "ErrorItemNotFound": "The specified object was not found in the store.",
    "ErrorMailboxFailover": "The mailbox is being moved to another server. Try again later.",
    "ErrorMailboxMoveInProgress": "The mailbox is being moved. Try again later.",
    "ErrorMailboxStoreUnavailable": "The mailbox database is temporarily unavailable.",
    "ErrorNameResolutionMultipleResults": "Multiple results were found.",
    "ErrorNameResolutionNoResults": "No results were found.",
    "ErrorNonExistentMailbox": "The SMTP address has no mailbox associated with it.",
    "ErrorNonPrimarySmtpAddress": "The primary SMTP address must be specified when referencing a mailbox.",
    "ErrorServerBusy": "The server cannot service this request right now. Try again later.",
    "ErrorSyncFolderNotFound": "The folder to be synchronized could not be found.",
    "ErrorTooManyObjectsOpened": "Too many concurrent connections are opened.",
}


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was understood: the operation's element, what the header says, and the etag sent beside it."""

    operation: str
    body: etree._Element
    impersonate: tuple[str, str] | None = None  # kind (PrimarySmtpAddress …) and value
    header: tuple[etree._Element, ...] = field(default=())
    known: str = ""  # the HTTP header If-None-Match


def parse(payload: bytes) -> etree._Element:
    """The document element; refuses DTDs, and never resolves entities or fetches anything."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True)
    try:
        root = etree.fromstring(payload, parser)
    except etree.XMLSyntaxError as fault:
        raise schema_fault(fault.msg or "not well-formed", fault.lineno or 1, fault.offset or 1) from None
    if root.getroottree().docinfo.doctype:
        raise SoapFault("ErrorInvalidRequest", "For security reasons DTD is prohibited in this XML document.")
    return root


def read_request(payload: bytes, known: str = "") -> Request:
    """Takes an envelope apart; `known` is the etag that came beside it."""
    root = parse(payload)
    body = root.find(f"{S}Body")
    if root.tag != f"{S}Envelope" or body is None:
        raise SoapFault("ErrorInvalidRequest")
    children = [child for child in body if isinstance(child.tag, str)]
    if len(children) != 1 or not children[0].tag.startswith(M):
        raise SoapFault("ErrorInvalidRequest")
    header = root.find(f"{S}Header")
    entries = tuple(entry for entry in header if isinstance(entry.tag, str)) if header is not None else ()
    return Request(children[0].tag.removeprefix(M), children[0], _impersonated(entries), entries, known)


def _impersonated(header: Iterable[etree._Element]) -> tuple[str, str] | None:
    for entry in header:
        if entry.tag == f"{T}RequestServerVersion" and entry.get("Version") not in SERVER_VERSIONS:
            raise SoapFault("ErrorInvalidServerVersion")
    for entry in header:
        if entry.tag == f"{T}ExchangeImpersonation":
            named = entry.find(f"{T}ConnectingSID/*")
            if named is None:
                raise SoapFault("ErrorInvalidExchangeImpersonationHeaderData", "The header is incomplete.")
            return etree.QName(named).localname, (named.text or "").strip()
    return None


def schema_fault(violation: str, line: int, column: int = 1) -> SoapFault:
    """What Exchange answers to a request that its schemas do not allow."""
    return SoapFault(
        "ErrorSchemaValidation",
        f"The request failed schema validation: {violation}",
        values={"LineNumber": str(line), "LinePosition": str(column), "Violation": violation},
    )


def text(value: str) -> str:
    """A value as it may stand between tags or in an attribute; what XML cannot carry is left out."""
    if not value.isprintable() or not value.isascii():
        value = _NOT_XML.sub("", value)
    for character, reference in _REFERENCES:
        if character in value:
            value = value.replace(character, reference)
    return value


def envelope(body: str) -> bytes:
    """A whole answer."""
    return f"{_HEAD}{body}{_FOOT}".encode()


def fault(problem: SoapFault) -> bytes:
    """A whole answer that is a fault."""
    values = _values(problem)
    detail = f'<t:MessageXml xmlns:t="{TYPES}">{values}</t:MessageXml>' if values else ""
    return (
        f'<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="{SOAP}"><s:Body><s:Fault>'
        f'<faultcode xmlns:a="{TYPES}">a:{problem.code}</faultcode>'
        f'<faultstring xml:lang="en-US">{text(problem.message)}</faultstring><detail>'
        f'<e:ResponseCode xmlns:e="{ERRORS}">{problem.code}</e:ResponseCode>'
        f'<e:Message xmlns:e="{ERRORS}">{text(problem.message)}</e:Message>{detail}'
        "</detail></s:Fault></s:Body></s:Envelope>"
    ).encode()


def _values(problem: EwsError | SoapFault) -> str:
    known = {"LineNumber", "LinePosition", "Violation"}
    return "".join(
        f"<t:{name}>{text(value)}</t:{name}>" if name in known else f'<t:Value Name="{name}">{text(value)}</t:Value>'
        for name, value in problem.values.items()
    )


# What a response message holds even when it says "Error": by the schema, or as Exchange has it.
_MANDATORY = {
    "GetFolder": "<m:Folders/>",
    "SyncFolderItems": "<m:SyncState/><m:IncludesLastItemInRange>true</m:IncludesLastItemInRange>",
    "SyncFolderHierarchy": "<m:SyncState/><m:IncludesLastFolderInRange>true</m:IncludesLastFolderInRange>",
    "CreateFolder": "<m:Folders/>",
    "UpdateFolder": "<m:Folders/>",
    "GetItem": "<m:Items/>",
    "MoveItem": "<m:Items/>",
    "CopyItem": "<m:Items/>",
    "CreateItem": "<m:Items/>",
    "UpdateItem": "<m:Items/>",
    "CreateAttachment": "<m:Attachments/>",
    "GetAttachment": "<m:Attachments/>",
    "GetServerTimeZones": "<m:TimeZoneDefinitions/>",
    "GetUserPhoto": "<m:HasChanged>false</m:HasChanged>",
    "GetPersona": '<m:Persona><t:PersonaId Id=""/></m:Persona>',
}

# Operations that answer with one bare message: the element's name.
BARE = {
    "GetUserPhoto": "GetUserPhotoResponse",
    "FindPeople": "FindPeopleResponse",
    "GetPersona": "GetPersonaResponseMessage",
}


def success(operation: str, content: str = "", *, attributes: str = "") -> str:
    """A response message that says yes."""
    name = BARE.get(operation, f"{operation}ResponseMessage")
    return f'<m:{name} ResponseClass="Success"{attributes}><m:ResponseCode>NoError</m:ResponseCode>{content}</m:{name}>'


def failure(operation: str, problem: EwsError, *, content: str = "", severity: str = "Error") -> str:
    """A response message that says no, or yes with a warning."""
    name = BARE.get(operation, f"{operation}ResponseMessage")
    detail = f"<m:MessageXml>{_values(problem)}</m:MessageXml>" if problem.values else ""
    return (
        f'<m:{name} ResponseClass="{severity}"><m:MessageText>{text(problem.message)}</m:MessageText>'
        f"<m:ResponseCode>{problem.code}</m:ResponseCode><m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>{detail}"
        f"{content or _MANDATORY.get(operation, '')}</m:{name}>"
    )


def response(operation: str, messages: Iterable[str]) -> str:
    """An operation's answer out of its response messages."""
    joined = "".join(messages)
    if operation in BARE:
        return joined
    return f"<m:{operation}Response><m:ResponseMessages>{joined}</m:ResponseMessages></m:{operation}Response>"


def children(element: etree._Element | None) -> list[etree._Element]:
    """The child elements, without comments and the like."""
    return [] if element is None else [child for child in element if isinstance(child.tag, str)]


def flag(content: str) -> bool:
    """A boolean of XML."""
    return content in {"true", "1"}


def local(element: etree._Element) -> str:
    """An element's name without its namespace."""
    return etree.QName(element).localname


def value(element: etree._Element, path: str) -> str:
    """The text at a path such as `m:Email`, or nothing."""
    return (element.findtext(path, default="", namespaces=NAMESPACES) or "").strip()
