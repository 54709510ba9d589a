"""`syncvault restore`: makes a vault of a backup, where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from syncvault.cli import output
from syncvault.cli.backup import Tally
from syncvault.cli.call import AsJson, begin
from syncvault.cli.places import DatabaseUrl, KeyDatabaseUrl, RootKeyOptions, lasting
from syncvault.cli.progress import counted
from syncvault.cli.rows import id_text
from syncvault.cli.terminal import note
from syncvault.cli.values import root_key_options
from syncvault.errors import Exit

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def restore(
    context: typer.Context,
    *,
    from_: Annotated[Path, typer.Option("--from", metavar="DIR", help="The backup of the rows.", show_default=False)],
    keys_from: Annotated[
        Path, typer.Option(metavar="KDIR", help="The backup of the keys and the ledger.", show_default=False)
    ],
    root_key_file: Annotated[
        Path | None, typer.Option(metavar="F", help="Where the root key's file lies, if not where it was.")
    ] = None,
    root_key_option: RootKeyOptions = None,
    database: DatabaseUrl = "",
    key_database: KeyDatabaseUrl = "",
    _json: AsJson = False,
) -> int:
    """Bring a vault back from its backups; what was erased since then stays erased."""
    from syncvault.vault.backups import restore as restoring

    call = begin(context)
    settings = call.settings
    wanted = restoring.Wanted(
        home=settings.home,
        data=from_.absolute(),
        keys=keys_from.absolute(),
        database=lasting(database or settings.database),
        key_database=lasting(key_database or settings.key_database),
        root_key_file=root_key_file,
        root_key_options={**settings.root_key_options, **root_key_options(root_key_option)},
        keep_days=settings.backup_keep_days,
    )
    with counted("bytes") as show:
        done = restoring.restore(wanted, progress=Tally(show), passphrase=call.passphrase)
    data: dict[str, Any] = {
        "vault_id": id_text(done.vault_id),
        "home": str(done.layout.home),
        "database": done.layout.database,
        "key_database": done.layout.key_database,
        "tenants": done.tenants,
        "rows": done.rows,
        "erased": len(done.replayed.tenants),
        "rows_erased": done.replayed.rows,
        "unreadable": [id_text(tenant_id) for tenant_id in done.unreadable],
    }
    lines: list[tuple[str, object]] = [("vault", data["vault_id"]), ("home", data["home"])]
    lines += [("database", data["database"]), ("key database", data["key_database"])]
    lines += [("tenants", data["tenants"]), ("rows", data["rows"])]
    output.print_object(call, data, lines)
    if done.replayed.tenants or done.replayed.rows:
        note(f"Left out as erased: {data['erased']} tenants, and {data['rows_erased']} rows of others.")
    for tenant_id in done.unreadable:
        note(f"Tenant {UUID(bytes=tenant_id)} was not whole in the backup: `syncvault verify` says what is wrong.")
    return Exit.PARTLY if done.unreadable else Exit.OK
