"""One call of the command line: what was asked for, the settings that hold, and the vault it works on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncvault import config
from syncvault.cli import secrets_in
from syncvault.secret import Secret

if TYPE_CHECKING:
    from syncvault.vault.vault import Vault

_GLOBAL_OPTIONS_WITH_VALUE = ("--home", "--config", "--passphrase-file")


@dataclass
class Call:
    """What the command line said so far; made before it is parsed, so that a refusal can be reported in its form."""

    command: str
    as_json: bool
    debug: bool
    owns_process: bool = False  # nothing else runs in it, so it may be shut to others
    home: Path | None = None
    config_file: Path | None = None
    passphrase_file: Path | None = None
    has_answered: bool = False  # a JSON document has been written, so no other may follow
    _settings: config.Settings | None = field(default=None, repr=False)

    @classmethod
    def guess(cls, argv: Sequence[str], nouns_with_verbs: frozenset[str]) -> Call:
        """What an unparsed command line most likely asks for."""
        words, rest = [], iter(argv)
        for word in rest:
            if word in _GLOBAL_OPTIONS_WITH_VALUE:
                next(rest, None)
            elif not word.startswith("-"):
                words.append(word)
        verbs = 2 if words and words[0] in nouns_with_verbs else 1
        return cls(" ".join(words[:verbs]), as_json="--json" in argv, debug="--debug" in argv)

    @property
    def settings(self) -> config.Settings:
        """The settings that hold; options of the command line win."""
        if self._settings is None:
            loaded = config.load(os.environ, is_root=os.geteuid() == 0, config=self.config_file)
            loaded = replace(loaded, home=self.home.absolute()) if self.home else loaded
            self._settings = replace(loaded, passphrase_file=self.passphrase_file or loaded.passphrase_file)
        return self._settings

    def passphrase(self) -> Secret:
        """The passphrase of the root key, from where the settings say or from a prompt."""
        return secrets_in.passphrase(self.settings.passphrase_file, confirm=False)

    def new_passphrase(self) -> Secret:
        """A passphrase for a new vault; asked for twice at a prompt."""
        return secrets_in.passphrase(self.settings.passphrase_file, confirm=True)

    def open_vault(self) -> Vault:
        """The vault in the data directory."""
        from syncvault.vault.opening import open_vault

        return open_vault(self.settings.home, passphrase=self.passphrase)


def _note_json(context: typer.Context, value: bool) -> bool:
    context.find_root().obj.as_json |= value
    return value


AsJson = Annotated[bool, typer.Option("--json", callback=_note_json, is_eager=True, help="Answer in JSON on stdout.")]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show masked values whole; the audit log records it.")]
TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's name.", show_default=False)]


def begin(context: typer.Context) -> Call:
    """The call that a command belongs to."""
    call: Call = context.find_root().obj
    call.command = context.command_path.removeprefix("syncvault ").strip()
    return call
