"""How secrets and files come in: from a file, standard input, or a prompt; never from an option's value."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Final

from syncvault.config import STDIN
from syncvault.errors import InputError, RootKeyError, UsageError
from syncvault.secret import Secret

SECRET_LIMIT: Final = 64 * 1024  # bytes; the longest sensible secret is a certificate chain
FILE_LIMIT: Final = 8 * 1024 * 1024


class EmptySecretError(InputError):
    """A secret that is nothing."""


def read_file(path: Path, name: str, *, limit: int = FILE_LIMIT) -> bytes:
    """The bytes of a file that was given.

    Args:
        path: The file.
        name: What it was given for, such as `--certificate`.
        limit: The most bytes it may have.

    Raises:
        UsageError: There is no such file.
        InputError: It cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError as error:
        raise UsageError(f"The file given for {name} does not exist.", advice=f"Look for {path}.") from error
    except OSError as error:
        raise InputError(
            f"The file given for {name} cannot be read: {error.strerror}.", advice=f"Look at {path}."
        ) from error
    if len(content) > limit:
        raise InputError(f"The file given for {name} is too large.", advice=f"Look at {path}.")
    return content


def secret_from_file(path: Path, name: str) -> Secret:
    """The secret in a file; `-` is standard input."""
    return secret_from_stdin(name) if path == STDIN else _secret(read_file(path, name, limit=SECRET_LIMIT), name)


def secret_from_stdin(name: str) -> Secret:
    """The secret on standard input."""
    content = sys.stdin.buffer.read(SECRET_LIMIT + 1)
    if len(content) > SECRET_LIMIT:
        raise InputError(f"The secret given by {name} is too long.", advice="Give the secret and nothing else.")
    return _secret(content, name)


def prompt(question: str, name: str) -> Secret:
    """The secret as typed at the terminal, unseen."""
    return _secret(getpass.getpass(f"{question}: ").encode("utf-8", "surrogateescape"), name)


def can_ask() -> bool:
    """Whether somebody sits at a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def passphrase(path: Path | None, *, confirm: bool) -> Secret:
    """The passphrase of the root key.

    Args:
        path: Where it lies, if a file was named.
        confirm: Whether it is new.

    Raises:
        RootKeyError: No file is named and nobody can be asked; or an empty one shall open a vault.
        InputError: A new one is empty, or typed differently the second time.
    """
    if path is not None:
        try:
            return secret_from_file(path, "--passphrase-file")
        except EmptySecretError as error:
            if confirm:
                raise
            raise RootKeyError(error.message, advice="Give the passphrase the vault was made with.") from None
    if not can_ask():
        raise RootKeyError(
            "The vault's passphrase is needed and nobody can be asked for it.",
            advice="Give it with --passphrase-file FILE, or on standard input with --passphrase-file -",
        )
    return _typed("Passphrase of the vault", confirm=confirm)


def new_passphrase(path: Path | None, *, present: Path | None) -> Secret:
    """The passphrase that the vault shall have from now on.

    Args:
        path: Where it lies, if a file was named.
        present: Where the present one lies, if a file was named.

    Raises:
        UsageError: Both are to come from standard input.
        RootKeyError: No file is named and nobody can be asked.
        InputError: It is empty, or typed differently the second time.
    """
    if path is not None:
        if path == present == STDIN:
            raise UsageError(
                "Standard input cannot hold two passphrases.", advice="Give one of them in a file of its own."
            )
        return secret_from_file(path, "--new-passphrase-file")
    if not can_ask():
        raise RootKeyError(
            "A new passphrase is needed and nobody can be asked for it.",
            advice="Give it with --new-passphrase-file FILE, or on standard input with --new-passphrase-file -",
        )
    return _typed("New passphrase of the vault", confirm=True)


def _typed(question: str, *, confirm: bool) -> Secret:
    typed = prompt(question, "the passphrase")
    if confirm and prompt("The same again", "the passphrase").reveal() != typed.reveal():
        raise InputError("The two passphrases differ.", advice="Run the command again; nothing was changed.")
    return typed


def _secret(content: bytes, name: str) -> Secret:
    """The secret without the one line break that editors and `echo` add."""
    content = content.removesuffix(b"\r\n") if content.endswith(b"\r\n") else content.removesuffix(b"\n")
    if not content.strip():
        raise EmptySecretError(
            f"The secret given by {name} is empty.", advice="Nothing was stored; give the secret itself."
        )
    if not _is_text(content):
        raise InputError(f"The secret given by {name} is not UTF-8 text.", advice="Save it as UTF-8.")
    return Secret(content)


def _is_text(content: bytes) -> bool:
    # Apart, so that no exception that holds the secret hangs on the one that is reported.
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
