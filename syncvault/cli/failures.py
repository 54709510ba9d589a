"""From an exception to two lines on stderr, or to an `error` object; the only place that decides how failures read."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import Any, Final

from typer import TyperException

from syncvault.cli.terminal import note, shown
from syncvault.cli.values import EXAMPLES
from syncvault.errors import Exit, SyncvaultError

_INTERNAL_ADVICE: Final = "This is a bug: run the command again with --debug and report what it prints."


class Interrupted(SyncvaultError):
    """Somebody pressed Ctrl-C."""

    code = "interrupted"
    exit_code = Exit.INTERRUPTED
    default_advice = "Run the command again: it continues where it stopped."


def error_object(error: BaseException) -> dict[str, Any]:
    """The failure as `--json` shows it."""
    code, message, advice, _ = _describe(error)
    return {"code": code, "message": message, "advice": advice}


def exit_code(error: BaseException) -> int:
    """The exit code of a failure."""
    return int(_describe(error)[3])


def print_text(error: BaseException) -> None:
    """Writes the sentence and the advice to stderr."""
    _, message, advice, _ = _describe(error)
    note(f"Error: {shown(message)}\n  {shown(advice)}")


def print_traceback(error: BaseException) -> None:
    """Writes where a failure came from, without what foreign exceptions say: that may hold secrets or personal data."""
    seen: BaseException | None = error
    while seen is not None:
        kind = f"{type(seen).__module__}.{type(seen).__qualname__}"
        own = f": {shown(seen)}" if isinstance(seen, SyncvaultError | TyperException) else ""
        note(f"{kind}{own}")
        for frame in traceback.extract_tb(seen.__traceback__):
            note(f"  {frame.filename}:{frame.lineno} {frame.name}: {shown(frame.line)}")
        seen = seen.__cause__ or seen.__context__


def _describe(error: BaseException) -> tuple[str, str, str, int]:
    if isinstance(error, SyncvaultError):
        return error.code, error.message, error.advice, error.exit_code
    if isinstance(error, TyperException):
        return "usage", _sentence(error.format_message()), _usage_advice(error), Exit.USAGE
    if isinstance(error, OSError):
        return "system", _os_sentence(error), _os_advice(error), Exit.FAILED
    return "internal", f"Something unforeseen happened: {type(error).__name__}.", _INTERNAL_ADVICE, Exit.FAILED


def _usage_advice(error: TyperException) -> str:
    """An example for the option that is missing or wrong, else where to read on."""
    parameter = getattr(error, "param", None)
    names = [*getattr(parameter, "opts", ()), str(getattr(parameter, "metavar", None) or "")]
    example = next((f"{name} {EXAMPLES[name]}" for name in names if name in EXAMPLES), "")
    if example:
        return f"Give it like {example.removeprefix('NAME ').removeprefix('TENANT ')}"
    context = getattr(error, "ctx", None)
    return f"Run: {context.command_path if context else 'syncvault'} --help"


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "?", "!", ")")) else f"{text}."


def _os_sentence(error: OSError) -> str:
    what = error.strerror or "the system refused"
    return f"{error.filename}: {what}." if isinstance(error.filename, str) else f"The system refused: {what}."


def _os_advice(error: OSError) -> str:
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return "Run the command as the user who owns the file, or change its permissions."
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "Free some space and run the command again."
    return "Look at the file or directory named."


def silence_stdout() -> None:
    """Keeps the interpreter from complaining, when it flushes at its end, that nobody reads any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
