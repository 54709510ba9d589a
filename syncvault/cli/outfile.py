"""Files that a command writes for somebody: readable by the owner alone, whole or not at all, never over another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from syncvault.errors import InputError


def require_absent(path: Path, name: str) -> None:
    """Refuses a file that exists, or whose directory cannot be written, before any work is done."""
    if os.path.lexists(path):
        raise InputError(f"The file given for {name} exists already.", advice="Name another file; none is overwritten.")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(
            f"The directory of the file given for {name} cannot be written.", advice=f"Look at {path.parent}."
        )


@contextmanager
def new_file(path: Path, name: str) -> Iterator[BinaryIO]:
    """A file that appears under its name when the block ends well, and never otherwise.

    Raises:
        InputError: A file of that name exists, or none can be made there.
    """
    require_absent(path, name)
    draft = path.with_name(f".{path.name[:100]}.{uuid4().hex}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        draft.replace(path)  # our own empty file: a bare rename would replace anybody's
    except FileExistsError:
        raise InputError(f"The file given for {name} exists already.", advice="Name another file.") from None
    except OSError as error:
        raise InputError(
            f"The file given for {name} cannot be written: {error.strerror}.", advice=f"Look at {path}."
        ) from error
    finally:
        draft.unlink(missing_ok=True)
