"""`syncvault backup`: the sealed rows and, apart from them, the keys; and whether a backup could be restored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from syncvault.cli import output
from syncvault.cli.audited import audited
from syncvault.cli.call import AsJson, Call, begin
from syncvault.cli.output import Column, instant
from syncvault.cli.progress import counted
from syncvault.cli.rows import id_text
from syncvault.cli.terminal import note
from syncvault.errors import Exit

if TYPE_CHECKING:
    from syncvault.vault.backups.backup_check import Verdict

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_COLUMNS: Final = (
    Column("file", "file"),
    Column("table", "table"),
    Column("finding", "finding"),
    Column("message", "message"),
    Column("advice", "advice"),
)


class Tally:
    """Adds up what is done, for something that counts."""

    def __init__(self, show: Callable[[int, int], None]) -> None:
        self._show = show
        self._done = self._expected = 0

    def expect(self, rows: int) -> None:
        """So many more are to come."""
        self._expected += rows

    def advance(self, rows: int) -> None:
        """So many more are done."""
        self._done += rows
        self._show(self._done, self._expected)


@app.callback()
def _backup() -> None:
    """Back up the sealed rows and, apart from them, the keys."""


@app.command()
def create(
    context: typer.Context,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new directory for the sealed rows.", show_default=False)],
    keys_out: Annotated[
        Path | None,
        typer.Option(metavar="KDIR", help="A directory for the keys and the erasure ledger; the latest replaces."),
    ] = None,
    _json: AsJson = False,
) -> None:
    """Back up the vault while others work with it."""
    from syncvault.vault.backups import backup

    call = begin(context)
    with call.open_vault() as vault, counted("rows") as show, audited(vault, call.command):
        keep_days = call.settings.backup_keep_days
        made = backup.create(vault, out, keys_out=keys_out, keep_days=keep_days, progress=Tally(show))
    data: dict[str, Any] = {
        "vault_id": id_text(made.data.vault_id),
        "created_at": instant(made.data.created_at),
        "expires_on": made.data.expires_on.isoformat(),
        "out": str(out.absolute()),
        "keys_out": str(keys_out.absolute()) if keys_out else None,
        "rows": sum(made.data.rows.values()),
        "bytes": sum(content.size for content in made.data.files.values()),
        "keys": made.keys.rows["wrapped_keys"] if made.keys else None,
    }
    lines: list[tuple[str, object]] = [("rows", f"{data['rows']} in {data['out']}, {data['bytes']} bytes")]
    if made.keys:
        lines.append(("keys", f"{data['keys']} in {data['keys_out']}"))
    lines.append(("delete on", data["expires_on"]))
    output.print_object(call, data, lines)
    if not made.keys:
        note("The keys were not backed up: without them, and the ledger of erasures, nothing can be restored.")
        note("  Name a directory on another disk with --keys-out.")


@app.command()
def verify(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The backup.", show_default=False)],
    _json: AsJson = False,
) -> int:
    """Check that a backup is whole, that this vault made it, and that today's keys open every record."""
    from syncvault.vault.backups import backup_check

    call = begin(context)
    with call.open_vault() as vault, counted("mailboxes") as show:
        verdict = backup_check.check(vault, directory.absolute(), progress=show)
        is_expired = verdict.statement is not None and vault.now.date() >= verdict.statement.expires_on
    _print(call, verdict, is_expired=is_expired)
    return Exit.FINDINGS if verdict.findings else Exit.OK


def _print(call: Call, verdict: Verdict, *, is_expired: bool) -> None:
    said = verdict.statement
    data = {
        "kind": str(said.kind) if said else None,
        "created_at": instant(said.created_at) if said else None,
        "expires_on": said.expires_on.isoformat() if said else None,
        "is_expired": is_expired,
        "checked": verdict.checked,
        "erased": verdict.erased,
    }
    rows = [
        {
            "file": finding.file,
            "table": finding.table,
            "row": id_text(finding.row) if finding.row else None,
            "finding": finding.kind,
            "message": finding.message,
            "advice": finding.advice,
        }
        for finding in verdict.findings
    ]
    what = "keys" if said and said.kind == "keys" else "records"
    output.print_items(call, rows, _COLUMNS, none=f"The backup is whole; {verdict.checked} {what} open.", more=data)
    if verdict.erased:
        note(f"{verdict.erased} tenants in it are erased: nothing opens their rows, and no restore brings them back.")
    if is_expired:
        note(f"It was to be deleted on {data['expires_on']}: keys that it needs may be destroyed from then on.")
