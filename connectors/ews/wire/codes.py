"""Exchange's response codes, as the port's errors.

Sources: Microsoft, "ResponseCode", "EWS throttling in Exchange", "Impersonation and EWS in Exchange".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from connectors.port import (
    ConnectorError,
    CredentialRejected,
    MailboxGone,
    NotPermitted,
    ServerFault,
    Throttled,
)

BUSY: Final = frozenset({
    "ErrorServerBusy",
    "ErrorTooManyObjectsOpened",
    "ErrorExceededConnectionCount",
    "ErrorInsufficientResources",
    "ErrorNotEnoughMemory",
})  # fmt: skip
# What says that fewer requests at once would be served.
TOO_MANY: Final = frozenset({"ErrorServerBusy", "ErrorTooManyObjectsOpened", "ErrorExceededConnectionCount"})
PASSING: Final = BUSY | {
    "ErrorADUnavailable",
    "ErrorBatchProcessingStopped",
    "ErrorConnectionFailed",
    "ErrorInternalServerError",
    "ErrorInternalServerTransientError",
    "ErrorMailboxFailover",
    "ErrorMailboxStoreUnavailable",
    "ErrorNoRespondingCASInDestinationSite",
    "ErrorProxyRequestProcessingFailed",
    "ErrorProxyTokenExpired",
    "ErrorRequestAborted",
    "ErrorTimeoutExpired",
}
WRONG_VERSION: Final = frozenset({
    "ErrorInvalidServerVersion",
    "ErrorIncorrectSchemaVersion",
    "ErrorInvalidSchemaVersionForMailboxVersion",
})  # fmt: skip
# What servers say to an operation, or to an attribute of one, that they do not know; the last two are bare SOAP faults.
UNSUPPORTED: Final = frozenset({
    "ErrorInvalidOperation",
    "ErrorInvalidRequest",
    "ErrorNotImplemented",
    "ErrorSchemaValidation",
    "Client",
    "Server",
})  # fmt: skip
FOLDER_GONE: Final = frozenset({"ErrorSyncFolderNotFound", "ErrorFolderNotFound", "ErrorItemNotFound"})
NO_ENTRY: Final = frozenset({
    "ErrorNameResolutionNoResults",
    "ErrorNameResolutionNoMailbox",
    "ErrorMailRecipientNotFound",
    "ErrorRecipientNotFound",
    "ErrorNonExistentMailbox",
    "ErrorItemNotFound",
    "ErrorCannotFindUser",
})  # fmt: skip

_ACCOUNT: Final = frozenset({"ErrorAccountDisabled", "ErrorPasswordExpired", "ErrorPasswordChangeRequired"})
_IMPERSONATION: Final = frozenset({
    "ErrorImpersonateUserDenied",
    "ErrorImpersonationDenied",
    "ErrorImpersonationFailed",
    "ErrorInvalidExchangeImpersonationHeaderData",
})  # fmt: skip
_GONE: Final = frozenset({
    "ErrorNonExistentMailbox",
    "ErrorCannotFindUser",  # grommunio's word for it
    "ErrorMissingEmailAddress",
    "ErrorInvalidUserPrincipalName",
    "ErrorInvalidSmtpAddress",
})  # fmt: skip

_DAY_MS: Final = 24 * 3600 * 1000

ROLE_ADVICE: Final = (
    "Give the service account the right to this mailbox in the Exchange Management Shell, or remove the source:"
    " New-ManagementRoleAssignment -Name:syncvault -Role:ApplicationImpersonation -User:ACCOUNT"
)
PRIMARY_ADVICE: Final = "Register the mailbox by its primary SMTP address instead of an alias."


def failure(code: str, *, impersonating: bool) -> ConnectorError:
    """The port's error for a response code.

    Args:
        code: What Exchange calls it.
        impersonating: Whether the call was made in the name of a mailbox.
    """
    denied = _denied(code, impersonating=impersonating)
    if denied is not None:
        return denied
    if code in BUSY:
        return Throttled(f"Exchange is busy ({code}).", code=code)
    if code in _GONE:
        return MailboxGone(f"Exchange knows no such mailbox ({code}).", code=code)
    if code == "ErrorMailboxMoveInProgress":
        return ServerFault(f"The mailbox is being moved ({code}).", code=code)
    return ServerFault(f"Exchange could not do this ({code}).", code=code)


def _denied(code: str, *, impersonating: bool) -> ConnectorError | None:
    if code in _IMPERSONATION or (impersonating and code == "ErrorAccessDenied"):
        return NotPermitted(f"The service account may not read this mailbox ({code}).", code=code, advice=ROLE_ADVICE)
    if code == "ErrorAccessDenied":
        return NotPermitted(f"The service account may not do this ({code}).", code=code)
    if code == "ErrorNonPrimarySmtpAddress":
        return NotPermitted(f"The address is an alias of its mailbox ({code}).", code=code, advice=PRIMARY_ADVICE)
    if code in _ACCOUNT and not impersonating:
        return CredentialRejected(f"Exchange refuses the service account ({code}).", code=code)
    if code in _ACCOUNT:
        advice = "Enable the account, or remove the source."
        return NotPermitted(f"The mailbox's account is switched off ({code}).", code=code, advice=advice)
    return None


def back_off(values: Mapping[str, str]) -> float | None:
    """The seconds that a busy server asks for, a day at most; None where it does not say."""
    try:
        return min(max(int(values["BackOffMilliseconds"]), 0), _DAY_MS) / 1000
    except (KeyError, ValueError):
        return None
