"""What Kerberos keeps in files: whose keys a keytab holds, and whose tickets a cache holds.

Nothing secret comes out of here, and no Kerberos library is needed to look. Sources: MIT Kerberos documentation,
"The keytab file format" and "Credential cache file format".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

_KEYTAB: Final = b"\x05\x02"
_CACHES: Final = (b"\x05\x03", b"\x05\x04")  # older ones have the byte order of the machine that wrote them
_NAME_TYPE = _TIMESTAMP = 4  # bytes
_KEY_VERSION: Final = 1


class KerberosFileError(ValueError):
    """The content is not what Kerberos writes into such a file."""


def keytab_principals(content: bytes) -> tuple[str, ...]:
    """The principals that a keytab has keys of, each once, in its order.

    Raises:
        KerberosFileError: It is no keytab of the usual form, or is cut off.
    """
    if not content.startswith(_KEYTAB):
        raise KerberosFileError("no keytab")
    return tuple(dict.fromkeys(_entries(_Reader(content[2:], counted_in=">H"))))


def cache_principal(content: bytes) -> str:
    """The principal whose tickets a cache holds.

    Raises:
        KerberosFileError: It is no ticket cache of a usual form, or is cut off.
    """
    if not content.startswith(_CACHES):
        raise KerberosFileError("no ticket cache")
    reader = _Reader(content[2:], counted_in=">I")
    if content.startswith(_CACHES[-1]):
        reader.take(reader.number(">H"))  # tags, such as the clock's offset
    reader.take(_NAME_TYPE)
    return reader.principal(reader.number(">I"))


def principal_of(account: str, principals: tuple[str, ...]) -> str:
    r"""Which of these principals a service account is; empty if none is, or several may be.

    Args:
        account: The principal itself, or a name that directories know it by: `DOMAIN\name`, `name@example.com`.
        principals: Those that a keytab holds.
    """
    wanted = account.casefold()
    exact = [one for one in principals if one.casefold() == wanted]
    name = wanted.rpartition("\\")[2].partition("@")[0]
    found = exact or [one for one in principals if one.casefold().rpartition("@")[0] == name]
    return found[0] if len(found) == 1 else ""


def _entries(reader: _Reader) -> Iterator[str]:
    while reader.left >= struct.calcsize(">i"):
        size = reader.number(">i")
        if size == 0:  # what follows was never written
            return
        entry = reader.take(abs(size))
        if size > 0:  # else an entry was deleted here
            yield _Reader(entry, counted_in=">H").keytab_entry()


class _Reader:
    """Takes a file's bytes from the front."""

    def __init__(self, content: bytes, *, counted_in: str) -> None:
        self._content = content
        self._counted_in = counted_in  # the form of numbers that say how long a text is

    @property
    def left(self) -> int:
        return len(self._content)

    def take(self, size: int) -> bytes:
        taken, self._content = self._content[:size], self._content[size:]
        if len(taken) < size:
            raise KerberosFileError("cut off")
        return taken

    def number(self, form: str) -> int:
        (number,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return int(number)

    def principal(self, parts: int) -> str:
        realm, *names = [self._text() for _ in range(parts + 1)]
        return f"{'/'.join(names)}@{realm}"

    def keytab_entry(self) -> str:
        principal = self.principal(self.number(">H"))
        self.take(_NAME_TYPE + _TIMESTAMP + _KEY_VERSION)
        self.number(">H")  # the kind of encryption
        if not self.take(self.number(">H")):
            raise KerberosFileError("an entry without a key")
        return principal

    def _text(self) -> str:
        try:
            return self.take(self.number(self._counted_in)).decode("utf-8")
        except UnicodeDecodeError:
            raise KerberosFileError("a name that is not UTF-8") from None
