"""`syncvault doctor`: is everything as it should be here?"""

from __future__ import annotations

from typing import Final

import typer

from syncvault.cli import output
from syncvault.cli.call import AsJson, begin
from syncvault.cli.output import Column
from syncvault.errors import Exit

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_COLUMNS: Final = (
    Column("check", "check"),
    Column("result", "result"),
    Column("message", "message"),
    Column("advice", "advice"),
)


@app.command()
def doctor(context: typer.Context, _json: AsJson = False) -> int:
    """Check keys, databases, permissions and clock."""
    from syncvault.service import health

    call = begin(context)
    found = [
        {"check": one.check, "result": str(one.result), "message": one.message, "advice": one.advice}
        for one in health.examine(call.settings.home, passphrase=call.passphrase)
    ]
    output.print_items(call, found, _COLUMNS, none="Nothing was checked.")
    return Exit.FINDINGS if any(one["result"] != "ok" for one in found) else Exit.OK
