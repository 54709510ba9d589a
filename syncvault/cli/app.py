"""The root of the command line: global options, nouns loaded only when used, and the one place where failures end."""

from __future__ import annotations

import difflib
import importlib
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command

from syncvault import __version__, hygiene
from syncvault.cli import failures, output
from syncvault.cli.call import Call
from syncvault.cli.failures import Interrupted
from syncvault.cli.terminal import shown
from syncvault.errors import Exit, UsageError


class Noun(NamedTuple):
    """What `--help` says of a noun, so that its module need not be loaded to say it."""

    help: str
    has_verbs: bool = True


NOUNS: Final = {
    "init": Noun("Make a vault.", has_verbs=False),
    "tenant": Noun("Register, show, change, cancel, renew and delete tenants."),
    "credential": Noun("Show, check and replace a tenant's credential."),
    "source": Noun("Choose the users, groups and mailboxes to pull."),
    "sync": Noun("Pull contacts and photos.", has_verbs=False),
    "contact": Noun("List, show and export stored contacts."),
    "status": Noun("Show what the vault holds and what is due.", has_verbs=False),
    "doctor": Noun("Check keys, databases, permissions and clock.", has_verbs=False),
    "verify": Noun("Open and compare everything that is stored.", has_verbs=False),
    "backup": Noun("Back up the sealed rows and, apart from them, the keys; check a backup."),
    "restore": Noun("Make a vault of its backups.", has_verbs=False),
    "audit": Noun("Read, verify and export the log of changes and disclosures."),
    "purge": Noun("Erase every tenant whose purge date has come.", has_verbs=False),
    "key": Noun("Show and rotate keys, and move the root key."),
    "receipt": Noun("Verify receipts of erasure, and finalize interim ones."),
}


class LazyGroup(TyperGroup):
    """A group that knows its nouns by name and imports one only when it is used."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  (typer's signature)
        """The nouns, in the order in which a newcomer needs them."""
        return list(NOUNS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  (typer's signature)
        """The command of a noun, loaded now."""
        if cmd_name not in NOUNS:
            near = difflib.get_close_matches(cmd_name, NOUNS, n=1)
            advice = f"Did you mean `syncvault {near[0]}`?" if near else "Run: syncvault --help"
            raise UsageError("There is no such command.", advice=advice)
        command = get_command(importlib.import_module(f"syncvault.cli.{cmd_name}").app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  (typer's signature)
        """Lists the nouns without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, noun.help) for name, noun in NOUNS.items()])


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(context: typer.Context, value: bool) -> None:
    if not value:
        return
    if context.obj.as_json:
        output.document("--version", {"data": {"version": __version__}})
    else:
        sys.stdout.write(f"syncvault {__version__}\n")
    raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    *,
    home: Annotated[Path | None, typer.Option("--home", metavar="DIR", help="The data directory.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Read this settings file and no other.")
    ] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option("--passphrase-file", metavar="F", help="The passphrase of the root key; - reads standard input."),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Add tracebacks and a summary of the wire to failures; never secrets.")
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    _json: Annotated[bool, typer.Option("--json", hidden=True)] = False,  # seen by `Call.guess` wherever it stands
) -> None:
    """Pull contacts and photos from Exchange, keep them sealed, and delete them provably."""
    call: Call = context.obj
    call.home, call.config_file, call.passphrase_file, call.debug = home, config, passphrase_file, debug
    _set_logging(debug=debug)
    if call.owns_process:
        hygiene.close_memory()


def run(argv: Sequence[str], *, owns_process: bool = False) -> int:
    """Runs a command line and returns its exit code; no exception leaves.

    Args:
        argv: The command line.
        owns_process: Whether the process is there for it alone, and what holds for a process may be changed.
    """
    call = Call.guess(argv, frozenset(name for name, noun in NOUNS.items() if noun.has_verbs))
    call.owns_process = owns_process
    if owns_process:
        hygiene.show_no_values(failures.print_traceback)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as service managers and containers ask for an end
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal of another encoding
    try:
        code = get_command(app).main(list(argv), prog_name="syncvault", standalone_mode=False, obj=call)
        if code == Exit.INTERRUPTED:  # typer's way of telling of Ctrl-C
            return _report(call, Interrupted("Interrupted."))
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):  # the latter is the end of input at a prompt
        return _report(call, Interrupted("Interrupted."))
    except (SystemExit, BrokenPipeError):  # nobody reads any more; typer tells of it by SystemExit
        failures.silence_stdout()
        return Exit.FAILED
    except Exception as error:  # noqa: BLE001  (the edge: every failure becomes a sentence here)
        return _report(call, error)
    return int(code or Exit.OK)


def _report(call: Call, error: BaseException) -> int:
    try:
        if call.debug:
            failures.print_traceback(error)
        if call.as_json and not call.has_answered:
            output.document(call.command, {"error": failures.error_object(error)})
        else:
            failures.print_text(error)
        sys.stdout.flush()
    except OSError as unwritten:  # nobody reads any more, or the disk that stdout goes to is full
        failures.silence_stdout()
        if not isinstance(unwritten, BrokenPipeError):
            with suppress(OSError):
                failures.print_text(unwritten)
    return failures.exit_code(error)


class _WireFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # The message alone: tracebacks of foreign exceptions may hold what was sent.
        return f"{record.name}: {shown(record.getMessage())}"


def _set_logging(*, debug: bool) -> None:
    """Shows what our own code logs with --debug; what libraries log is dropped, it may hold addresses."""
    logging.lastResort = None
    if debug:
        handler = logging.StreamHandler()
        handler.setFormatter(_WireFormatter())
        for name in ("connectors", "syncvault"):
            logger = logging.getLogger(name)
            logger.setLevel(logging.DEBUG)
            logger.handlers = [handler]
