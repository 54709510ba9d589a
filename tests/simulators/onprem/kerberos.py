"""The server's side of Kerberos: opens tickets with the keys of a keytab, through the real GSSAPI."""

from __future__ import annotations

from pathlib import Path

_CHANNEL_BOUND = 0x800  # GSS_C_CHANNEL_BOUND_FLAG: the client did send a binding, and it fits


class RefusedTicket(Exception):
    """A ticket that is not taken; `token` is what is said to the client about it."""

    def __init__(self, token: bytes) -> None:
        super().__init__("refused")
        self.token = token


class Acceptor:
    """Takes tickets for the services whose keys a keytab holds."""

    def __init__(self, keytab: Path) -> None:
        self._store = {"keytab": f"FILE:{keytab}", "rcache": "none:"}

    def accept(self, message: bytes, end_point: bytes | None) -> tuple[str, bytes]:
        """The principal that a client's first message proves, and the answer by which the server proves itself."""
        import gssapi
        from gssapi.raw.misc import GSSError

        binding = gssapi.raw.ChannelBindings(application_data=b"tls-server-end-point:" + (end_point or b""))
        context = gssapi.SecurityContext(
            creds=gssapi.Credentials(usage="accept", store=self._store),
            usage="accept",
            channel_bindings=binding if end_point else None,
        )
        context.__DEFER_STEP_ERRORS__ = False
        try:
            answer = context.step(message)
        except GSSError as error:
            raise RefusedTicket(bytes(getattr(error, "token", None) or b"")) from None
        if not context.complete or (end_point and not int(context.actual_flags) & _CHANNEL_BOUND):
            raise RefusedTicket(b"")
        return str(context.initiator_name), bytes(answer or b"")
