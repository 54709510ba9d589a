"""Graph's error answers: `{"error": {"code", "message", "innerError"}}` with the codes that the services send.

Directory (Entra) and mailbox (Outlook) resources name the same trouble differently.
"""

from __future__ import annotations

from typing import Any


class GraphError(Exception):
    """An answer that is not a success."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}

    def body(self, request_id: str, client_request_id: str, date: str) -> dict[str, Any]:
        """The JSON body."""
        inner = {"date": date, "request-id": request_id, "client-request-id": client_request_id}
        return {"error": {"code": self.code, "message": self.message, "innerError": inner}}


def bad_request(message: str, code: str = "BadRequest") -> GraphError:
    """The request makes no sense."""
    return GraphError(400, code, message)


def invalid_token(message: str) -> GraphError:
    """No bearer, or one that Graph does not accept."""
    return GraphError(
        401, "InvalidAuthenticationToken", message, {"WWW-Authenticate": 'Bearer realm="", authorization_uri=""'}
    )


def role_missing() -> GraphError:
    """The token carries no application role for this directory resource."""
    return GraphError(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")


def access_denied() -> GraphError:
    """Exchange does not let this application into this mailbox."""
    return GraphError(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")


def no_resource(key: str) -> GraphError:
    """No such directory object."""
    return GraphError(
        404,
        "Request_ResourceNotFound",
        f"Resource '{key}' does not exist or one of its queried reference-property objects are not present.",
    )


def no_user(key: str) -> GraphError:
    """A mailbox resource of a user who does not exist."""
    return GraphError(404, "ErrorInvalidUser", f"The requested user '{key}' is invalid.")


def no_mailbox() -> GraphError:
    """The user exists and has no mailbox here."""
    return GraphError(
        404,
        "MailboxNotEnabledForRESTAPI",
        "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
    )


def no_item() -> GraphError:
    """No such contact or folder."""
    return GraphError(404, "ErrorItemNotFound", "The specified object was not found in the store.")


def no_image() -> GraphError:
    """No photo."""
    return GraphError(404, "ImageNotFound", "The photo wasn't found.")


def resync(location: str) -> GraphError:
    """The directory no longer knows a delta token."""
    return GraphError(
        410, "Directory_ExpiredPageToken", "The delta token is expired. Start again.", {"Location": location}
    )


def sync_state_gone(location: str) -> GraphError:
    """A mailbox no longer knows a sync state."""
    return GraphError(410, "syncStateNotFound", "The sync state generation is not found.", {"Location": location})


def throttled_mailbox(limit: str = "MailboxConcurrency", seconds: int = 1) -> GraphError:
    """More requests than a mailbox takes, at once or in ten minutes."""
    message = f"Application is over its {limit} limit."
    return GraphError(429, "ApplicationThrottled", message, {"Retry-After": str(seconds)})


def no_segment(segment: str) -> GraphError:
    """A path that Graph does not have."""
    return bad_request(f"Resource not found for the segment '{segment}'.")
