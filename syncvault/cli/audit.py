"""`syncvault audit`: who changed or looked at what, and whether that is still what was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from syncvault.cli import output
from syncvault.cli.audited import audited
from syncvault.cli.call import AsJson, begin
from syncvault.cli.outfile import new_file, require_absent
from syncvault.cli.output import Column, instant
from syncvault.cli.rows import id_text
from syncvault.cli.terminal import note, shown
from syncvault.errors import Exit

if TYPE_CHECKING:
    from syncvault.vault.trail.audit import Entry, Report

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_COLUMNS: Final = (
    Column("at", "at", 20),
    Column("uid", "uid", 6),
    Column("role", "role", 7),
    Column("verb", "verb", 18),
    Column("outcome", "outcome", 20),
    Column("tenant_id", "tenant", 36),
)
_FINDINGS: Final = (
    Column("seq", "entry"),
    Column("finding", "finding"),
    Column("message", "message"),
    Column("advice", "advice"),
)


@app.callback()
def _audit() -> None:
    """Read the log of changes and disclosures."""


@app.command("list")
def list_(context: typer.Context, _json: AsJson = False) -> None:
    """List the log, newest first."""
    from syncvault.vault.trail import audit

    call = begin(context)
    with call.open_vault() as vault:
        output.stream_items(call, (_row(entry) for entry in audit.listing(vault)), _COLUMNS, none="The log is empty.")


@app.command()
def verify(context: typer.Context, _json: AsJson = False) -> int:
    """Check that no entry was changed, removed or put in."""
    from syncvault.vault.trail import audit

    call = begin(context)
    with call.open_vault() as vault:
        report = audit.verify(vault)
    findings = [
        {"seq": one.seq, "finding": one.finding, "message": one.message, "advice": one.advice}
        for one in report.findings
    ]
    none = f"All {report.checked} entries are as they were written."
    output.print_items(call, findings, _FINDINGS, none=none, more=_more(report))
    for first, last in report.gaps:
        note(f"Entries {first} to {last} went with a restore.")
    if report.unsigned:
        note(f"{report.unsigned} entries are from before entries were signed.")
    if report.journal.why_not:
        note(f"The journal was not compared: {shown(report.journal.why_not)}.")
    elif not report.journal.compared:
        note("The journal remembers no entry that could be compared.")
    return Exit.FINDINGS if findings else Exit.OK


@app.command()
def export(
    context: typer.Context,
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="A new file, readable by you alone.", show_default=False)
    ],
    _json: AsJson = False,
) -> None:
    """Write the log to a file, in a form that others can verify without any secret."""
    from syncvault.vault.trail import audit

    call = begin(context)
    require_absent(out, "--out")
    size = 0
    with call.open_vault() as vault, audited(vault, call.command) as entry, new_file(out, "--out") as file:
        for part in audit.export(vault):
            size += file.write(part)
        entry.write()  # before the file appears under its name
    data = {"out": str(out), "bytes": size}
    output.print_object(call, data, list(data.items()))


def _more(report: Report) -> dict[str, Any]:
    return {
        "checked": report.checked,
        "unsigned": report.unsigned,
        "gaps": [{"first": first, "last": last} for first, last in report.gaps],
        "journal": {"compared": report.journal.compared, "why_not": report.journal.why_not or None},
    }


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "at": instant(entry.at),
        "uid": entry.uid,
        "role": entry.role,
        "verb": entry.verb,
        "tenant_id": id_text(entry.tenant_id) if entry.tenant_id else None,
        "outcome": entry.outcome,
    }
