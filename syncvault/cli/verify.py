"""`syncvault verify`: is everything that was stored still there, readable, and as it was left?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from syncvault.cli import output
from syncvault.cli.call import AsJson, Call, begin
from syncvault.cli.output import Column
from syncvault.cli.progress import counted
from syncvault.cli.rows import id_text
from syncvault.cli.values import tenant_name
from syncvault.errors import DamagedError, Exit

if TYPE_CHECKING:
    from syncvault.vault.verify import Verdict

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_COLUMNS: Final = (
    Column("tenant", "tenant"),
    Column("table", "table"),
    Column("finding", "finding"),
    Column("message", "message"),
    Column("advice", "advice"),
)


@app.command()
def verify(
    context: typer.Context,
    tenant: Annotated[
        str | None, typer.Argument(metavar="TENANT", help="Check this tenant alone.", show_default=False)
    ] = None,
    _json: AsJson = False,
) -> int:
    """Open every record, recompute indexes, manifests and purge dates, and name what is wrong."""
    call = begin(context)
    name = None if tenant is None else tenant_name(tenant, "TENANT")
    verdict = _verdict(call, name)
    data = {"checked": verdict.checked}
    rows = [_row(verdict, number) for number in range(len(verdict.findings))]
    output.print_items(call, rows, _COLUMNS, none=f"{verdict.checked} records are as they should be.", more=data)
    return Exit.FINDINGS if rows else Exit.OK


def _verdict(call: Call, name: str | None) -> Verdict:
    from syncvault.vault import verify as vault_verify

    try:
        vault = call.open_vault()
    except DamagedError as error:
        return vault_verify.damaged_vault(error)
    with vault, counted("mailboxes") as progress:
        return vault_verify.verify(vault, name, progress=progress)


def _row(verdict: Verdict, number: int) -> dict[str, Any]:
    finding = verdict.findings[number]
    return {
        "tenant": None if finding.tenant_id is None else verdict.names.get(finding.tenant_id),
        "tenant_id": None if finding.tenant_id is None else id_text(finding.tenant_id),
        "table": finding.table,
        "row": None if finding.row is None else id_text(finding.row),
        "finding": str(finding.kind),
        "message": finding.message,
        "advice": finding.advice,
    }
