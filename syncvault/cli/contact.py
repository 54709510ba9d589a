"""`syncvault contact`: reading stored contacts back, one by one, as a stream, or as a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer

from syncvault.cli import output, values
from syncvault.cli.audited import Entry, audited
from syncvault.cli.call import AsJson, Reveal, TenantArgument, begin
from syncvault.cli.lookup import living
from syncvault.cli.outfile import new_file, require_absent
from syncvault.cli.output import Column
from syncvault.cli.rows import contact_row, id_text
from syncvault.errors import NotFoundError

if TYPE_CHECKING:
    from syncvault.export.vcard import VcardVersion
    from syncvault.vault.content.contacts import StoredContact
    from syncvault.vault.model import Tenant
    from syncvault.vault.vault import Vault

app = typer.Typer(add_completion=False, rich_markup_mode=None)

Out = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="A new file, readable by you alone.", show_default=False)
]
ContactId = Annotated[str, typer.Argument(metavar="ID", help="Its id, as `contact list` shows it.", show_default=False)]

FORMATS: Final = ("vcard", "json", "csv")
_COLUMNS: Final = (
    Column("id", "id", 36),
    Column("kind", "kind", 7),
    Column("display_name", "name", 28),
    Column("company", "company", 20),
    Column("email_addresses", "e-mail"),
)


@app.command("list")
def list_(
    context: typer.Context,
    tenant: TenantArgument,
    *,
    mailbox: Annotated[str, typer.Option(metavar="REF", help="Only this mailbox: its id, address or object ID.")] = "",
    reveal: Reveal = False,
    _json: AsJson = False,
) -> None:
    """List a tenant's contacts."""
    from syncvault.vault.content import contacts, sources

    call = begin(context)
    with call.open_vault() as vault, audited(vault, call.command) as entry:
        found = living(vault, tenant, entry)
        only = sources.mailbox(vault, found, mailbox) if mailbox else None
        zone = found.facts.subscription.zone
        rows = (contact_row(one, zone, reveal=reveal) for one in contacts.stream(vault, found, only))
        output.stream_items(call, _logged(entry, rows), _COLUMNS, none="No contacts.")


@app.command()
def show(
    context: typer.Context,
    tenant: TenantArgument,
    contact_id: ContactId,
    *,
    reveal: Reveal = False,
    _json: AsJson = False,
) -> None:
    """Show everything that is stored of one contact."""
    from syncvault.vault.content import contacts

    call, wanted = begin(context), values.own_id(contact_id, "ID")
    with call.open_vault() as vault, audited(vault, call.command) as entry:
        found = living(vault, tenant, entry)
        one = contacts.get(vault, found, wanted)
        row = contact_row(one, found.facts.subscription.zone, reveal=reveal, whole=True)
        entry.write()
    lines = [(key.replace("_", " "), value) for key, value in row.items() if value not in ("", [], None, {})]
    output.print_object(call, row, lines)


@app.command()
def photo(
    context: typer.Context,
    tenant: TenantArgument,
    contact_id: ContactId,
    *,
    out: Out,
    _json: AsJson = False,
) -> None:
    """Write a contact's photo to a file."""
    from syncvault.vault.content import photos

    call, wanted = begin(context), values.own_id(contact_id, "ID")
    require_absent(out, "--out")
    with call.open_vault() as vault, audited(vault, call.command) as entry:
        found = living(vault, tenant, entry)
        content = photos.read(vault, found, wanted)
        if content is None:
            raise NotFoundError("There is no photo of that contact.", advice="`syncvault contact list` shows its id.")
        with new_file(out, "--out") as file:
            file.write(content)
            entry.write()
    data = {"out": str(out), "bytes": len(content)}
    output.print_object(call, data, list(data.items()))


@app.command()
def export(
    context: typer.Context,
    tenant: TenantArgument,
    *,
    format_: Annotated[
        str, typer.Option("--format", metavar="vcard|json|csv", help="Which format.", show_default=False)
    ],
    out: Out,
    vcard_version: Annotated[str, typer.Option(metavar="3.0|4.0", help="Which vCard.")] = "3.0",
    _json: AsJson = False,
) -> None:
    """Write a tenant's contacts to a file; vCards with their photos."""
    from syncvault.export.vcard import VcardVersion
    from syncvault.vault.content import contacts

    call = begin(context)
    chosen = values.choice(format_, "--format", FORMATS)
    version = VcardVersion(values.choice(vcard_version, "--vcard-version", list(VcardVersion)))
    require_absent(out, "--out")
    count = 0
    with call.open_vault() as vault, audited(vault, call.command) as entry:
        found = living(vault, tenant, entry)
        writer = _writer(chosen, vault, found, version)
        with new_file(out, "--out") as file:
            file.write(writer.head)
            for one in contacts.stream(vault, found):
                file.write((writer.separator if count else b"") + writer.each(one))
                count += 1
            file.write(writer.foot)
            entry.write()  # before the file appears under its name
    data = {"out": str(out), "format": chosen, "contacts": count}
    output.print_object(call, data, list(data.items()))


class _Writer:
    """How a format writes a file: what stands before, between and after the contacts, and each of them."""

    def __init__(
        self, each: Callable[[StoredContact], bytes], *, head: bytes = b"", separator: bytes = b"", foot: bytes = b""
    ) -> None:
        self.each, self.head, self.separator, self.foot = each, head, separator, foot


def _writer(chosen: str, vault: Vault, tenant: Tenant, version: VcardVersion) -> _Writer:
    if chosen == "vcard":
        return _vcard_writer(vault, tenant, version)
    return _json_writer(tenant) if chosen == "json" else _csv_writer(tenant)


def _vcard_writer(vault: Vault, tenant: Tenant, version: VcardVersion) -> _Writer:
    from syncvault.export import vcard
    from syncvault.vault.content import photos

    def each(one: StoredContact) -> bytes:
        picture = photos.read(vault, tenant, one.id) if one.has_photo else None
        return vcard.write(UUID(bytes=one.id), one.fields, picture, version=version)

    return _Writer(each)


def _json_writer(tenant: Tenant) -> _Writer:
    zone = tenant.facts.subscription.zone

    def each(one: StoredContact) -> bytes:
        return output.to_json(contact_row(one, zone, reveal=True, whole=True)).encode()

    head = f'{{"schema":"{output.SCHEMA}","command":"contact export","data":{{"items":[\n'
    return _Writer(each, head=head.encode(), separator=b",\n", foot=b"\n]}}\n")


def _csv_writer(tenant: Tenant) -> _Writer:
    from syncvault.export import table

    zone = tenant.facts.subscription.zone

    def each(one: StoredContact) -> bytes:
        row = contact_row(one, zone, reveal=True)
        facts = {key: str(row[key] or "") for key in ("kind", "folder", "photo_sha256", "purge_on")}
        facts |= {
            "id": id_text(one.id),
            "mailbox": row["mailbox"]["ref"] if row["mailbox"] else "",
            "has_photo": "yes" if one.has_photo else "no",
        }
        return table.row(facts, one.fields)

    return _Writer(each, head=table.header())


def _logged(entry: Entry, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows, the first of them only after the log knows of it."""
    for row in rows:
        if not entry.is_written:
            entry.write()
        yield row
