"""`syncvault init`: makes a vault under the root-key provider that was named; picks none by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer

from syncvault.cli import output
from syncvault.cli.audited import Entry, write_if_possible
from syncvault.cli.call import AsJson, Call, begin
from syncvault.cli.places import DatabaseUrl, KeyDatabaseUrl, RootKeyFile, RootKeyOptions, lasting
from syncvault.cli.rows import id_text
from syncvault.cli.terminal import note
from syncvault.cli.values import root_key_options
from syncvault.errors import UsageError
from syncvault.roots.registry import Candidate

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def init(
    context: typer.Context,
    *,
    root_key: Annotated[str, typer.Option(metavar="PROVIDER", help="What keeps the root key.")] = "",
    root_key_file: RootKeyFile = None,
    root_key_option: RootKeyOptions = None,
    database: DatabaseUrl = "",
    key_database: KeyDatabaseUrl = "",
    _json: AsJson = False,
) -> None:
    """Make a vault in the data directory."""
    from syncvault.vault import layout as layouts
    from syncvault.vault.opening import create_vault

    call = begin(context)
    settings = call.settings
    key_file = root_key_file or settings.root_key_file
    if root_key == "file" and key_file is None:
        key_file = layouts.default_root_key_file(settings.home)
    options = {**settings.root_key_options, **root_key_options(root_key_option)}
    candidate = _choose(call, root_key, key_file, options)
    layout = layouts.Layout(
        home=settings.home,
        database=lasting(database or settings.database or layouts.default_database(settings.home)),
        key_database=lasting(key_database or settings.key_database or layouts.default_key_database(settings.home)),
        root_key=candidate.name,
        root_key_file=key_file.absolute() if key_file else None,
        root_key_options=options,
    )
    with create_vault(layout, passphrase=call.new_passphrase) as vault:
        write_if_possible(Entry(vault, call.command))
        public_key = vault.receipt_public_key
        data = {
            "vault_id": id_text(vault.id),
            "root_key": layout.root_key,
            "home": str(layout.home),
            "database": layout.database,
            "key_database": layout.key_database,
            "receipt_public_key": public_key,
        }
    note(f"The root key is kept by the provider {candidate.name}: {candidate.describes}")
    lines: list[tuple[str, object]] = [("vault", data["vault_id"]), ("home", data["home"])]
    lines += [("database", layout.database), ("key database", layout.key_database), ("root key", layout.root_key)]
    lines += [("root key file", str(layout.root_key_file))] if layout.root_key_file else []
    lines.append(("receipt key", public_key.strip()))
    output.print_object(call, data, lines)
    if not call.as_json:
        output.say(call, "\nHand the receipt key to whoever shall be able to verify receipts of erasure.")


def _choose(call: Call, name: str, key_file: Path | None, options: Mapping[str, str]) -> Candidate:
    """The provider that was named, usable or not: it says itself what it lacks."""
    import os

    from syncvault.roots.port import ProviderSettings
    from syncvault.roots.registry import require_options, survey
    from syncvault.vault import layout as layouts

    settings = ProviderSettings(
        vault_id=uuid4(),
        options=options,
        home=call.settings.home,
        passphrase=call.new_passphrase,
        environment=os.environ,
    )
    # The file is for the provider that was named: another one must not take a PIN for a token and send it somewhere.
    files = {"file": layouts.default_root_key_file(call.settings.home), **({name: key_file} if key_file else {})}
    candidates = survey(settings, files)
    _show(candidates)
    chosen = next((candidate for candidate in candidates if candidate.name == name), None)
    if chosen is None:
        known = ", ".join(candidate.name for candidate in candidates)
        said = "The value of --root-key is not one of those known." if name else "--root-key is missing."
        usable = next((candidate.name for candidate in candidates if candidate.usable), "passphrase")
        raise UsageError(said, advice=f"Choose one of: {known}; like --root-key {usable}")
    require_options(name, options)
    return chosen


def _show(candidates: list[Candidate]) -> None:
    note("Root-key providers here:")
    for candidate in candidates:
        note(f"  {candidate.name:<14} {'usable' if candidate.usable else f'not usable: {candidate.why}'}")
