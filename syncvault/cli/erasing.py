"""What `tenant delete` and `purge` have in common: the preview, the act, and what is said of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from syncvault.cli import output
from syncvault.cli.audited import Entry, audited, write_if_possible
from syncvault.cli.call import Call
from syncvault.cli.outfile import new_file, require_absent
from syncvault.cli.output import Column
from syncvault.cli.rows import id_text
from syncvault.cli.terminal import note, shown
from syncvault.errors import Exit, SyncvaultError

if TYPE_CHECKING:
    from syncvault.vault.erasing.erasure import Erased, Plan
    from syncvault.vault.erasing.outstanding import Kept

Vacuum = Annotated[
    bool, typer.Option("--vacuum", help="Write the database file anew without its free pages (takes its size twice).")
]

COLUMNS: Final = (
    Column("tenant", "tenant"),
    Column("contacts", "contacts"),
    Column("photos", "photos"),
    Column("credentials", "credentials"),
    Column("sources", "sources"),
    Column("reason", "reason"),
    Column("due_on", "due on"),
    Column("done", "erased"),
    Column("receipt_status", "receipt"),
)


def plan_row(plan: Plan) -> dict[str, Any]:
    """What would go."""
    return {
        "tenant": plan.name,
        "tenant_id": id_text(plan.tenant_id),
        "contacts": plan.contacts,
        "photos": plan.photos,
        "credentials": plan.credentials,
        "sources": plan.sources,
        "reason": plan.reason,
        "due_on": plan.due_on.isoformat(),
        "done": False,
        "receipt": None,
        "receipt_status": None,
        "outstanding": [],
    }


def erased_row(erased: Erased) -> dict[str, Any]:
    """What is gone, and what of it is still outstanding."""
    return {
        **plan_row(erased.plan),
        "done": True,
        "receipt": os.fspath(erased.receipt_path),
        "receipt_status": erased.status,
        "outstanding": list(erased.outstanding),
    }


def tell_outstanding(row: dict[str, Any]) -> None:
    """Says what still keeps erased data recoverable."""
    for step in row["outstanding"]:
        note(f"Outstanding for {shown(row['tenant'] or row['tenant_id'])}: {shown(step)}")


def kept_row(kept: Kept) -> dict[str, Any]:
    """A receipt that was issued for an earlier erasure."""
    return {
        "tenant_id": id_text(kept.statement.tenant_id),
        "receipt": os.fspath(kept.path),
        "receipt_status": kept.statement.status,
        "outstanding": list(kept.statement.outstanding),
    }


def delete_tenant(call: Call, name: str, *, yes: bool, receipt: Path | None, vacuum: bool) -> int:
    """Previews or erases one tenant and returns the exit code."""
    from syncvault.vault import tenants
    from syncvault.vault.erasing import erasure
    from syncvault.vault.trail import audit

    if receipt is not None:
        require_absent(receipt, "--receipt")
    with call.open_vault() as vault:
        if not yes:
            row = plan_row(erasure.plan(vault, tenants.find_to_erase(vault, name), erasure.ON_DEMAND))
        else:
            with audited(vault, call.command, may_go_unlogged=True) as entry:
                tenant = tenants.find_to_erase(vault, name)
                entry.tenant_id = tenant.id
                erased = erasure.erase(vault, tenant, reason=erasure.ON_DEMAND, role=audit.role(), vacuum=vacuum)
            row = erased_row(erased)
            if receipt is not None:
                row["receipt"] = _hand_out(erased, receipt)
    row["tenant"] = name  # also where nobody can read it any more
    # The shape of `purge`, whose list has one entry here; its keys stand beside it for whoever asked for one tenant.
    output.print_items(call, [row], COLUMNS, none="", more=row)
    if not yes:
        output.say(call, "Nothing was erased. Run the command again with --yes to erase this for good.")
        return Exit.OK
    output.say(call, f"Receipt: {shown(row['receipt'])}")
    tell_outstanding(row)
    return Exit.PARTLY if row["outstanding"] else Exit.OK


def record_purged(entry: Entry, erased: Sequence[Erased]) -> None:
    """One audit entry for each tenant that a purge erased."""
    for one in erased:
        write_if_possible(Entry(entry.vault, entry.verb, one.plan.tenant_id))
        entry.is_written = True


def _hand_out(erased: Erased, path: Path) -> str:
    try:
        with new_file(path, "--receipt") as file:
            file.write(erased.receipt)
    except SyncvaultError as error:  # the tenant is gone: the receipt that the vault keeps is named instead
        note(f"{error.message} The receipt is kept at {erased.receipt_path}.")
        return os.fspath(erased.receipt_path)
    return os.fspath(path)
