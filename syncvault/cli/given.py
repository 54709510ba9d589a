"""What was given, by options or by a table of an import file, and how a refusal calls each value of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncvault.cli import values
from syncvault.cli.call import Call
from syncvault.config import STDIN
from syncvault.errors import UsageError

Parser = Callable[[str, str], str]


def as_option(key: str) -> str:
    """How the command line calls a value."""
    return "NAME" if key == "name" else f"--{key}"


@dataclass(frozen=True)
class Given:
    """Values by the names of their options, without dashes in front; `label` says how a refusal calls one."""

    texts: Mapping[str, Any]
    label: Callable[[str], str] = as_option

    def name(self, key: str) -> str:
        """A value's name alone, where a refusal has already said in which table of a file to look."""
        return as_option(key) if self.label is as_option else key

    def required(self, key: str, parse: Parser) -> str:
        """A value that must be there."""
        text = self.texts.get(key)
        if not text:
            example = values.EXAMPLES.get(as_option(key), "")
            raise UsageError(f"{self.label(key)} is missing.", advice=f"Give it like {example}" if example else "")
        return parse(text, self.label(key))

    def optional(self, key: str, parse: Parser, default: str = "") -> str:
        """A value that may be left out."""
        text = self.texts.get(key)
        return parse(text, self.label(key)) if text else default

    def path(self, key: str) -> Path | None:
        """A file that may be left out."""
        text = self.texts.get(key)
        return Path(text) if text else None


def given_options(options: dict[str, Any]) -> Given:
    """The options of a command as values by their names."""
    return Given({name.replace("_", "-"): value for name, value in options.items()})


def one_of(choices: tuple[str, ...]) -> Parser:
    """Takes one of a closed set."""
    return lambda text, name: values.choice(text, name, choices)


def refuse_two_readers(call: Call, given: Given) -> None:
    """Standard input can serve one purpose only."""
    stdin_wanted = [given.label(key) for key in ("secret-stdin", "password-stdin") if given.texts.get(key)]
    keys = ("secret-file", "password-file", "certificate-password-file")
    stdin_wanted += [given.label(key) for key in keys if given.texts.get(key) == STDIN]
    stdin_wanted += ["--passphrase-file"] if call.settings.passphrase_file == STDIN else []
    if len(stdin_wanted) > 1:
        raise UsageError(
            f"Standard input cannot serve both {stdin_wanted[0]} and {stdin_wanted[1]}.",
            advice="Give one of them by a file.",
        )
