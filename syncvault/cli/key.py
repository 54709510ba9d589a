"""`syncvault key`: shows which keys there are, rotates them, and moves the root key to another provider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from syncvault.cli import output, secrets_in
from syncvault.cli.audited import audited
from syncvault.cli.call import AsJson, Call, TenantArgument, begin
from syncvault.cli.lookup import living
from syncvault.cli.output import Column
from syncvault.cli.places import RootKeyFile, RootKeyOptions
from syncvault.cli.progress import counted
from syncvault.cli.terminal import note, shown
from syncvault.cli.values import root_key_options
from syncvault.errors import Exit

if TYPE_CHECKING:
    from syncvault.secret import Secret
    from syncvault.vault.keyring.destruction import RootChange
    from syncvault.vault.keyring.keys_in_use import KeyInUse

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_COLUMNS: Final = (
    Column("tenant", "tenant"),
    Column("purpose", "purpose"),
    Column("generation", "generation"),
    Column("state", "state"),
    Column("rows", "rows"),
)

NewPassphraseFile = Annotated[
    Path | None, typer.Option("--new-passphrase-file", metavar="F", help="The new passphrase; - reads standard input.")
]


class KeyPurpose(StrEnum):
    """Which of a tenant's keys."""

    DATA = "data"
    INDEX = "index"


@app.callback()
def _noun() -> None:
    """Show and rotate keys."""


@app.command()
def status(context: typer.Context, *, _json: AsJson = False) -> None:
    """Show the root-key provider, and every key with the rows that need it."""
    from syncvault.vault.keyring import keys_in_use

    call = begin(context)
    with call.open_vault() as vault:
        found, provider = keys_in_use.listing(vault), vault.keys.provider
        why = provider.why_unusable()
    more = {"provider": provider.name, "usable": why is None, "why": why}
    if not call.as_json:
        output.say(call, f"The root key is kept by the provider {provider.name}{f': {why}' if why else '.'}\n")
    output.print_items(call, _items(found), _COLUMNS, none="No keys.", more=more)


@app.command("rotate-root")
def rotate_root(context: typer.Context, *, new_passphrase_file: NewPassphraseFile = None, _json: AsJson = False) -> int:
    """Replace the root key, and destroy the one before."""
    from syncvault.vault.keyring import root_rotation

    call = begin(context)
    with call.open_vault() as vault, audited(vault, call.command):
        ask = None if new_passphrase_file is None else lambda: _new_passphrase(call, new_passphrase_file)
        change = root_rotation.rotate(vault, new_passphrase=ask)
    return _tell(call, change)


@app.command()
def migrate(
    context: typer.Context,
    *,
    to: Annotated[str, typer.Option("--to", metavar="PROVIDER", help="What shall keep the root key.")],
    root_key_file: RootKeyFile = None,
    root_key_option: RootKeyOptions = None,
    new_passphrase_file: NewPassphraseFile = None,
    _json: AsJson = False,
) -> int:
    """Move the root key to another provider, and destroy the one before."""
    from syncvault.vault import layout
    from syncvault.vault.keyring import root_rotation

    call = begin(context)
    if to == "file" and root_key_file is None:
        root_key_file = layout.default_root_key_file(call.settings.home)
    place = layout.RootPlace(to, root_key_file.absolute() if root_key_file else None, root_key_options(root_key_option))
    with call.open_vault() as vault, audited(vault, call.command):
        note(f"Moving the root key from {shown(vault.layout.root_key)} to {shown(to)} …")
        change = root_rotation.migrate(vault, place, new_passphrase=lambda: _new_passphrase(call, new_passphrase_file))
        note("Every key is wrapped under the new root key, and opens.")
    return _tell(call, change)


@app.command("rotate-tenant")
def rotate_tenant(
    context: typer.Context,
    tenant: TenantArgument,
    *,
    purpose: Annotated[KeyPurpose | None, typer.Option(help="Only this key of the tenant.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only show which keys are in use.")] = False,
    _json: AsJson = False,
) -> None:
    """Give a tenant new keys, and seal its rows anew, while syncs go on; resumes one that was interrupted."""
    from syncvault.vault import tenants
    from syncvault.vault.keyring import keys_in_use, rotation
    from syncvault.vault.keyring.wrapped import Purpose

    call, resumed = begin(context), list[str]()
    with call.open_vault() as vault:
        if check:
            found = keys_in_use.of_tenant(vault, tenants.find_to_erase(vault, tenant))
        else:
            with audited(vault, call.command) as entry, counted("rows") as done:
                chosen = living(vault, tenant, entry)
                purposes = {Purpose(purpose)} if purpose else {Purpose.DATA, Purpose.INDEX}
                rotation.rotate(vault, chosen, purposes, rotation.Follower(_tell_wait, done, resumed.extend))
            found = keys_in_use.of_tenant(vault, chosen)
    more = {} if check else {"resumed": sorted(resumed)}
    output.print_items(call, _items(found), _COLUMNS, none="No keys.", more=more)
    for each in sorted(resumed):
        note(f"An earlier rotation of the {each} key was finished, and no new key made. For one, run this again.")


def _tell_wait(said: str) -> None:
    note(f"{said} Waiting until it is free; Ctrl-C gives up.")


def _items(found: Sequence[KeyInUse]) -> list[dict[str, Any]]:
    return [asdict(one) for one in found]


def _new_passphrase(call: Call, path: Path | None) -> Secret:
    return secrets_in.new_passphrase(path, present=call.settings.passphrase_file)


def _tell(call: Call, change: RootChange) -> int:
    from syncvault.vault.keyring import root_rotation

    left = root_rotation.outstanding(change)
    data = {
        "provider": change.provider,
        "generation": change.generation,
        "replaced": change.replaced,
        "destroyed": not left,
        "outstanding": list(left),
    }
    lines: list[tuple[str, object]] = [
        ("provider", change.provider),
        ("generation", change.generation),
        ("replaced", change.replaced),
        ("destroyed", not left),
    ]
    output.print_object(call, data, lines)
    for each in left:
        note(f"Outstanding: {shown(each)}")
    return Exit.PARTLY if left else Exit.OK
