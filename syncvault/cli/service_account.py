"""How a service account signs in on premises, from options or an import file: the way, and what has to come with it.

Everything here is judged by what was given alone: nothing has been read, asked or sent yet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from syncvault.cli import values
from syncvault.cli.given import Given, one_of
from syncvault.errors import UsageError
from syncvault.vault.model import OnpremConnection

_PASSWORD: Final = ("password-stdin", "password-file")
_KERBEROS: Final = ("keytab", "ccache")
_SECRET: Final = ("secret-stdin", "secret-file")
WAYS: Final = {"ntlm": _PASSWORD, "basic": _PASSWORD, "kerberos": _KERBEROS, "oauth": _SECRET}
FURTHER: Final = {"oauth": ("token-url", "client-id", "token-scope", "secret-expires")}  # what else goes with a scheme
KEYS: Final = frozenset({"auth"}).union(*WAYS.values(), *FURTHER.values())
USUAL: Final = "ntlm"


@dataclass(frozen=True, slots=True)
class SignIn:
    """The way an account signs in, and where its tokens come from if it does so with OAuth."""

    auth: str
    token_url: str = ""
    client_id: str = ""
    token_scope: str = ""

    def on(self, connection: OnpremConnection) -> OnpremConnection:
        """The same server, signed in to in this way."""
        return replace(
            connection,
            auth=self.auth,
            token_url=self.token_url,
            client_id=self.client_id,
            token_scope=self.token_scope,
        )


def auth_of(given: Given, usual: str = USUAL) -> str:
    """The scheme that was named, or that goes with what was given; `usual` where that leaves a choice.

    Raises:
        UsageError: What was given does not go together.
    """
    named = given.optional("auth", one_of(tuple(WAYS)))
    keys = [key for auth in WAYS for key in _keys(auth) if given.texts.get(key)]
    fitting = [auth for auth in WAYS if set(keys) <= set(_keys(auth))]
    if named and named not in fitting:
        foreign = next(key for key in keys if key not in _keys(named))
        raise UsageError(
            f"{given.label(foreign)} does not go with {given.name('auth')} {named}.", advice=_advice(given, named)
        )
    if not fitting:
        other = next(key for key in keys if not set(_auths(key)) & set(_auths(keys[0])))
        said = f"{given.label(keys[0])} and {given.name(other)} exclude each other."
        raise UsageError(said, advice="Give one of them.")
    return named or (usual if usual in fitting else fitting[0])


def sign_in(given: Given, before: OnpremConnection | None = None) -> SignIn:
    """How the account shall sign in.

    Args:
        given: What was given.
        before: How it did so far, of a tenant that is registered.

    Raises:
        UsageError: Something is missing, malformed, or does not go together.
    """
    auth = auth_of(given, before.auth if before else USUAL)
    if auth == "kerberos" and not any(given.texts.get(way) for way in _KERBEROS):
        raise UsageError(f"{given.label('auth')} kerberos needs keys or tickets.", advice=_advice(given, auth))
    if len([way for way in WAYS[auth] if given.texts.get(way)]) > 1:
        raise UsageError("The credential was given twice.", advice=_advice(given, auth))
    if auth != "oauth":
        return SignIn(auth)
    require_address(str(given.texts.get("username") or (before.username if before else "")), given.label("username"))
    known = before or OnpremConnection("", "")  # which names none, unless it signed in so already
    return SignIn(
        auth,
        given.optional("token-url", values.url, known.token_url) or given.required("token-url", values.url),
        given.optional("client-id", values.filled_text, known.client_id)
        or given.required("client-id", values.filled_text),
        given.optional("token-scope", values.filled_text, known.token_scope),
    )


def require_address(username: str, name: str) -> None:
    """Makes sure that the account is named by its mailbox: a token of an application belongs to nobody.

    Raises:
        UsageError: It is named in another way.
    """
    try:
        values.address(username, name)
    except UsageError:
        raise UsageError(
            f"{name} has to be the address of the service account's mailbox where it signs in by OAuth.",
            advice="Give it like svc-contacts@example.com; of a registered tenant by `syncvault tenant edit`.",
        ) from None


def ways(given: Given, before: OnpremConnection | None = None) -> tuple[str, ...]:
    """The options of which one may give the credential."""
    return WAYS[auth_of(given, before.auth if before else USUAL)]


def domain(username: str, given: Given) -> str:
    """The domain whose autodiscover service is asked.

    Raises:
        UsageError: The account is not given as `user@domain`.
    """
    try:
        return values.domain(username.rpartition("@")[2], "")
    except UsageError:
        raise UsageError(
            f"{given.label('autodiscover')} needs the service account as user@domain.",
            advice=f"Give {given.name('username')} svc-contacts@example.com, or the URL by {given.name('ews-url')}.",
        ) from None


def _keys(auth: str) -> tuple[str, ...]:
    return (*WAYS[auth], *FURTHER.get(auth, ()))


def _auths(key: str) -> list[str]:
    return [auth for auth in WAYS if key in _keys(auth)]


def _advice(given: Given, auth: str) -> str:
    return f"With {given.name('auth')} {auth} give {' or '.join(given.name(way) for way in WAYS[auth])}."
