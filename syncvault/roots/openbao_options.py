"""Where the `openbao` provider finds its server, its transit key and its token: options, environment, files.

What was remembered when the vault was made comes first, then the variables that the `bao` and `vault` programs know.
The variables that switch verification off (`BAO_SKIP_VERIFY`, `VAULT_SKIP_VERIFY`) are not consulted.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from syncvault.errors import RootKeyError
from syncvault.roots import keyfiles
from syncvault.roots.port import ProviderSettings
from syncvault.secret import Secret

CREDENTIAL: Final = "syncvault-openbao-token"
OPTIONS: Final = frozenset({"address", "mount", "key", "exclusive", "ca_file", "namespace"})
_KEY: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,254}[A-Za-z0-9_])?")  # what transit takes as a name
_PATH: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
# No white space, quotes or braces: a file of another kind that is named by mistake must not travel as a token.
_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/=-]{1,4096}")


@dataclass(frozen=True, slots=True)
class Place:
    """A transit key on a server.

    Attributes:
        address: Scheme, host and port, and a path if the server stands behind one; no slash at the end.
        mount: Where the transit engine is mounted.
        key: The transit key.
        own: Whether the key serves this vault alone, so that its versions may be made and destroyed.
        ca_file: The only authorities to trust, instead of the system's.
        namespace: The namespace of mount and token; empty for the root.
    """

    address: str
    mount: str
    key: str
    own: bool
    ca_file: Path | None
    namespace: str

    @property
    def is_loopback(self) -> bool:
        """Whether the server runs on this machine."""
        return _is_loopback(urlsplit(self.address).hostname)

    def options(self) -> dict[str, str]:
        """The options that lead here again, whatever the environment says by then."""
        ca_file = str(self.ca_file) if self.ca_file else ""
        chosen = {"address": self.address, "mount": self.mount, "key": self.key, "ca_file": ca_file}
        return {**chosen, "namespace": self.namespace, **({"exclusive": "yes"} if self.own else {})}


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and where it was found."""

    value: Secret
    where: str


def locate(settings: ProviderSettings) -> Place:
    """Where the transit key of this vault is.

    Raises:
        RootKeyError: No address is given, or an option is not usable.
    """
    address = _chosen(settings, "address", "ADDR")
    if not address:
        raise RootKeyError(
            "No address of an OpenBao or Vault server is given.",
            advice="Give --root-key-option address=https://bao.example:8200, or set BAO_ADDR.",
        )
    usual = _usual_key(settings.vault_id)
    key = _shaped(_KEY, settings.options.get("key") or usual, "key")
    exclusive = settings.options.get("exclusive", "")
    if exclusive not in {"", "yes", "no"}:
        raise _unusable("exclusive", "yes or no")
    ca_file = _chosen(settings, "ca_file", "CACERT")
    namespace = _chosen(settings, "namespace", "NAMESPACE").strip("/")
    return Place(
        address=_checked_address(address),
        mount=_shaped(_PATH, (settings.options.get("mount") or "transit").strip("/"), "mount"),
        key=key,
        own=exclusive == "yes" or (key == usual and not exclusive),
        ca_file=Path(ca_file).expanduser().absolute() if ca_file else None,
        namespace=_shaped(_PATH, namespace, "namespace") if namespace else "",
    )


def find_token(settings: ProviderSettings) -> Token:
    """The token, as it stands now: whatever renews it may have written a new one.

    Raises:
        RootKeyError: There is none, others can read it, or it is something else.
    """
    for where, content in _token_places(settings):
        token = content.strip()
        if not _TOKEN.fullmatch(token):
            raise RootKeyError(f"{where} holds no OpenBao token.", advice="Write the token alone into it, in one line.")
        return Token(Secret(token), where)
    raise RootKeyError(
        "No OpenBao token is given.",
        advice=f"Name a file with --root-key-file, load the credential {CREDENTIAL}, or set BAO_TOKEN.",
    )


def _token_places(settings: ProviderSettings) -> Iterator[tuple[str, bytes]]:
    environment = settings.environment
    if (named := settings.root_key_file) and (content := keyfiles.read(named.expanduser().absolute())) is not None:
        yield str(named), content
    if directory := environment.get("CREDENTIALS_DIRECTORY"):
        credential = Path(directory) / CREDENTIAL
        if credential.is_file():  # its mode is not checked: systemd grants access by an access list
            yield str(credential), _read(credential)
    for variable in ("BAO_TOKEN", "VAULT_TOKEN"):
        if value := environment.get(variable):
            yield variable, value.encode("utf-8", "surrogateescape")
    if home := environment.get("HOME"):
        kept = Path(home) / ".vault-token"  # where `bao login` and `vault login` leave it
        if (content := keyfiles.read(kept)) is not None:
            yield str(kept), content


def _read(credential: Path) -> bytes:
    try:
        return credential.read_bytes()
    except OSError as error:
        raise RootKeyError(
            f"The unit's credential {credential} cannot be read: {error.strerror}.",
            advice="Check the unit's user and its LoadCredential settings.",
        ) from error


def _usual_key(vault_id: UUID) -> str:
    return f"syncvault-{vault_id}"


def _chosen(settings: ProviderSettings, option: str, variable: str) -> str:
    if option in settings.options:  # an empty one is a choice too: none, whatever the environment says
        return settings.options[option]
    return _first(settings.environment, f"BAO_{variable}", f"VAULT_{variable}")


def _first(environment: Mapping[str, str], *variables: str) -> str:
    return next((environment[name] for name in variables if environment.get(name)), "")


def _shaped(shape: re.Pattern[str], value: str, option: str) -> str:
    if not shape.fullmatch(value):
        raise _unusable(option, "letters, digits and _ . -")
    return value


def _unusable(option: str, takes: str) -> RootKeyError:
    return RootKeyError(f"The option {option} of the provider openbao is not usable.", advice=f"It takes {takes}.")


def parsed(url: str) -> SplitResult | None:
    """The parts of an absolute address; None if it is none, or holds a user name."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if it is no number
    except ValueError:
        return None
    return parts if parts.hostname and "@" not in parts.netloc else None


def _checked_address(address: str) -> str:
    parts = parsed(address)
    if parts is None or parts.query or parts.fragment:
        raise _unusable("address", "https://HOST:PORT, like https://bao.example:8200")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname)):
        raise RootKeyError(
            "The address of the OpenBao server does not begin with https://; the token is not sent there.",
            advice="Give an https:// address; http:// is taken only for this machine itself (127.0.0.1, localhost).",
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
