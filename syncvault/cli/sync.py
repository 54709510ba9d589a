"""`syncvault sync`: pulls tenants and says what moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from syncvault.cli import output, progress
from syncvault.cli.audited import Entry, UnloggedError, require_writable, write_after
from syncvault.cli.call import AsJson, Call, begin
from syncvault.cli.lookup import living
from syncvault.cli.output import Column
from syncvault.cli.rows import id_text
from syncvault.cli.terminal import note, shown
from syncvault.config import MOST_WORKERS
from syncvault.errors import DamagedError, Exit, UsageError
from syncvault.masking import mask_ref

if TYPE_CHECKING:
    from syncvault.sync.summary import Summary
    from syncvault.vault.model import Tenant
    from syncvault.vault.vault import Vault

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_COLUMNS: Final = tuple(
    Column(key, key)
    for key in (
        "tenant",
        "status",
        "mailboxes",
        "added",
        "changed",
        "removed",
        "unchanged",
        "skipped",
        "photos",
        "seconds",
    )
)
_CODES: Final = {
    "ok": Exit.OK,
    "partial": Exit.PARTLY,
    "failed": Exit.FAILED,
    "quarantined": Exit.FAILED,
    "expired": Exit.FAILED,
    "braked": Exit.BRAKE,
    "busy": Exit.BUSY,
}


@app.command()
def sync(
    context: typer.Context,
    tenant: Annotated[list[str] | None, typer.Argument(metavar="TENANT...", help="Which tenants.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All tenants.")] = False,
    tenants: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_WORKERS, metavar="N", help="So many tenants side by side. [default: 4]"),
    ] = None,
    mailboxes: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_WORKERS, metavar="N", help="So many mailboxes (online: lots of 40) of each. [default: 4]"
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Read everything again, photos too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change and store nothing.")] = False,
    deadline: Annotated[
        int | None, typer.Option(min=1, metavar="MINUTES", help="Stop then; the next run goes on from there.")
    ] = None,
    accept_removals: Annotated[
        bool, typer.Option("--accept-removals", help="Remove even so many contacts that the brake stops it.")
    ] = False,
    _json: AsJson = False,
) -> int:
    """Pull contacts and photos of tenants."""
    from syncvault.sync import engine
    from syncvault.sync.summary import Options

    call = begin(context)
    if bool(tenant) == every:
        raise UsageError(
            "Tenants and --all exclude each other." if every else "No tenant was named.",
            advice="Give it like `syncvault sync acme`, or `syncvault sync --all`.",
        )
    options = Options(
        tenants=tenants or call.settings.tenants,
        mailboxes=mailboxes or call.settings.mailboxes,
        full=full,
        dry_run=dry_run,
        accept_removals=accept_removals,
        deadline=deadline * 60 if deadline else None,
    )
    unlogged: UnloggedError | None = None
    with call.open_vault() as vault:
        require_writable(vault, call.command)
        chosen, damaged = _chosen(vault, tenant or [])
        with progress.follow() as follower:
            summaries = [*engine.sync(vault, chosen, options, follower), *damaged]
        ids = {one.facts.name: one.id for one in chosen}
        for summary in summaries:
            outcome = "ok" if summary.status == "ok" else f"failed:{summary.status}"
            try:
                write_after(Entry(vault, call.command, ids.get(summary.tenant)), outcome)
            except UnloggedError as error:
                unlogged = error
    rows = [summary.to_dict() for summary in summaries]
    output.print_items(call, rows, _COLUMNS, none="No tenants.", failure=unlogged)
    for summary in summaries:
        _tell_changes(call, summary)
        _tell_failures(summary)
    if unlogged is not None:
        raise unlogged
    return exit_code([str(summary.status) for summary in summaries])


def exit_code(statuses: Sequence[str]) -> int:
    """A single tenant's own code; of several, 13 if one was braked, else 3 if only some succeeded, 1 if none did."""
    codes = {_CODES[status] for status in statuses}
    if len(statuses) <= 1:
        return next(iter(codes), Exit.OK)
    if Exit.BRAKE in codes:
        return Exit.BRAKE
    if codes <= {Exit.OK}:
        return Exit.OK
    return Exit.PARTLY if codes & {Exit.OK, Exit.PARTLY} else Exit.FAILED


def _chosen(vault: Vault, names: Sequence[str]) -> tuple[list[Tenant], list[Summary]]:
    """The tenants to pull, and a failed summary of each that cannot even be read."""
    from syncvault.sync.summary import Failure, Status, Summary
    from syncvault.vault import tenants

    if names:
        return [living(vault, name) for name in dict.fromkeys(names)], []
    roll = tenants.call_roll(vault)
    failed = [
        Summary(
            id_text(one.id),
            Status.FAILED,
            failures=[Failure(None, DamagedError.code, one.message, DamagedError.default_advice)],
        )
        for one in roll.damaged
    ]
    return [one for one in roll.tenants if one.profile is not None], failed


def _tell_changes(call: Call, summary: Summary) -> None:
    """What a dry run would change, for a person; `--json` has it already."""
    if summary.changes and not call.as_json:
        rows = [
            {
                "action": change.action,
                "kind": change.kind,
                "mailbox": mask_ref(change.mailbox.ref) if change.mailbox.is_shown else "",
                "fields": ", ".join(change.fields),
            }
            for change in summary.changes
        ]
        output.print_items(call, rows, [Column(key, key) for key in rows[0]], none="")


def _tell_failures(summary: Summary) -> None:
    for failure in summary.failures:
        where = f"{summary.tenant}, mailbox {failure.mailbox}" if failure.mailbox else summary.tenant
        code = "" if failure.code in failure.message else f" ({shown(failure.code)})"
        note(f"{shown(where)}: {shown(failure.message)}{code}\n  {shown(failure.advice)}")
