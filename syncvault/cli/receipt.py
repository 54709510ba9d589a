"""`syncvault receipt`: verifying receipts of erasure, by anybody who holds the public key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from syncvault.cli import output, secrets_in
from syncvault.cli.call import AsJson, begin
from syncvault.errors import Exit

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def verify(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The receipt.", show_default=False)],
    public_key: Annotated[Path, typer.Option(metavar="FILE", help="The vault's receipt key.", show_default=False)],
    _json: AsJson = False,
) -> int:
    """Check that a receipt was issued by the vault with this public key; needs no vault."""
    from syncvault.vault import receipt

    call = begin(context)
    content = secrets_in.read_file(file, "FILE", limit=receipt.MAX_SIZE)
    verdict = receipt.verify(content, secrets_in.read_file(public_key, "--public-key", limit=secrets_in.SECRET_LIMIT))
    # What an invalid receipt says is nobody's statement, so it is not repeated.
    said = verdict.content if verdict.valid else {}
    data: dict[str, Any] = {
        "valid": verdict.valid,
        "status": said.get("status"),
        "issued_at": said.get("issued_at"),
        "tenant_id": said.get("tenant_id"),
        "counts": said.get("counts"),
        "keys_destroyed": said.get("keys_destroyed"),
        "outstanding": list(said.get("outstanding", ())),
    }
    lines: list[tuple[str, object]] = [(key.replace("_", " "), value) for key, value in data.items()]
    if data["counts"]:
        counted = ", ".join(f"{count} {name}" for name, count in data["counts"].items())
        lines = [(label, counted if label == "counts" else value) for label, value in lines]
    output.print_object(call, data, lines if verdict.valid else lines[:1])
    return Exit.OK if verdict.valid else Exit.FINDINGS


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
