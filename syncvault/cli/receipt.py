"""`syncvault receipt`: verifying receipts of erasure, by anybody who holds the public key, and ending interim ones."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from syncvault.cli import output, secrets_in
from syncvault.cli.audited import audited
from syncvault.cli.call import AsJson, Call, begin
from syncvault.cli.outfile import new_file, require_absent
from syncvault.cli.terminal import note, shown
from syncvault.errors import Exit

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_File = Annotated[Path, typer.Argument(metavar="FILE", help="The receipt.", show_default=False)]


@app.command()
def verify(
    context: typer.Context,
    file: _File,
    public_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The receipt key of the vault; without it, this vault's own.")
    ] = None,
    _json: AsJson = False,
) -> int:
    """Check that a receipt was issued by the vault with this public key; with the key at hand it needs no vault."""
    from syncvault.vault.erasing import receipt

    call = begin(context)
    content = secrets_in.read_file(file, "FILE", limit=receipt.MAX_SIZE)
    if public_key is not None:
        pem = secrets_in.read_file(public_key, "--public-key", limit=secrets_in.SECRET_LIMIT)
    else:
        with call.open_vault() as vault:
            pem = vault.receipt_public_key.encode("ascii")
    verdict = receipt.verify(content, pem)
    # What an invalid receipt says is nobody's statement, so it is not repeated.
    _print(call, verdict.content if verdict.valid else None)
    return Exit.OK if verdict.valid else Exit.FINDINGS


@app.command()
def finalize(
    context: typer.Context,
    file: _File,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Write the final receipt here.", show_default=False)],
    _json: AsJson = False,
) -> int:
    """Issue the final receipt in the place of an interim one, once nothing is outstanding any more.

    Does what it can to get there: replaces the root key if that may be done here, and has replaced ones destroyed.
    """
    from syncvault.vault.erasing import outstanding, receipt

    call = begin(context)
    content = secrets_in.read_file(file, "FILE", limit=receipt.MAX_SIZE)
    require_absent(out, "--out")
    with call.open_vault() as vault, audited(vault, call.command) as entry:
        try:
            kept = outstanding.finalize(vault, content)
        except outstanding.ForeignReceiptError as error:
            entry.write("findings")
            _print(call, None)
            note(error.message)
            return Exit.FINDINGS
        entry.tenant_id = kept.statement.tenant_id
        left = kept.statement.outstanding
        if left:
            entry.write("partly")
        else:
            with new_file(out, "--out") as target:
                target.write(kept.content)
    _print(call, kept.statement.to_dict(), receipt=None if left else os.fspath(out))
    for step in left:
        note(f"Outstanding: {shown(step)}")
    return Exit.PARTLY if left else Exit.OK


@app.command("public-key")
def public_key(context: typer.Context, _json: AsJson = False) -> None:
    """Print the key that verifies this vault's receipts, in PEM."""
    call = begin(context)
    with call.open_vault() as vault:
        pem = vault.receipt_public_key
    if call.as_json:
        output.print_object(call, {"receipt_public_key": pem}, [])
    else:
        output.say(call, pem.rstrip())


def _print(call: Call, said: Mapping[str, Any] | None, **more: Any) -> None:
    """What a receipt says, if it is genuine."""
    data: dict[str, Any] = {"valid": said is not None}
    for key in ("status", "issued_at", "tenant_id", "counts", "keys_destroyed"):
        data[key] = said.get(key) if said else None
    data["outstanding"] = list(said.get("outstanding", ())) if said else []
    data |= more
    lines: list[tuple[str, object]] = [(key.replace("_", " "), value) for key, value in data.items()]
    if data["counts"]:
        counted = ", ".join(f"{count} {name}" for name, count in data["counts"].items())
        lines = [(label, counted if label == "counts" else value) for label, value in lines]
    output.print_object(call, data, lines if said else lines[:1])
