"""Spreading work over forked processes, which inherit what they work on: keys are told to nobody.

Each process has a pipe of its own and nothing is shared between them, neither locks nor threads: one that is killed
leaves nobody waiting.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Final, TypeVar

from syncvault.errors import StorageError

_FORK: Final = multiprocessing.get_context("fork")

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def spread(do: Callable[[Piece], Result], pieces: Sequence[Piece], processes: int) -> Iterator[Result]:
    """Does the pieces of work in so many processes.

    Yields:
        What came of each piece, in no order.

    Raises:
        StorageError: A process was killed.
        Exception: What a piece raised; the rest is left undone.
    """
    left: dict[Connection, int] = {}
    children = []
    try:
        for number in range(min(processes, len(pieces))):
            stripe = pieces[number::processes]
            ours, theirs = _FORK.Pipe(duplex=False)
            left[ours] = len(stripe)
            child = _FORK.Process(target=_work, args=(do, stripe, theirs, list(left)), daemon=True)
            child.start()
            theirs.close()  # what the child alone holds ends when it does
            children.append(child)
        while left:
            ready = wait(list(left))
            for connection in [one for one in left if one in ready]:
                yield _result(connection)
                left[connection] -= 1
                if not left[connection]:
                    del left[connection]
    finally:
        for child in children:
            child.kill()  # it only reads; and unless something failed it has told everything
            child.join()


def _work(do: Callable[[Piece], Result], stripe: Sequence[Piece], told: Connection, parents: list[Connection]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and ends its children
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for connection in parents:
        connection.close()  # so that a parent that was killed leaves nobody who could listen
    for piece in stripe:
        try:
            told.send((do(piece), None))
        except Exception as error:  # noqa: BLE001  (raised again by who waits)
            told.send((None, error))
            return


def _result(connection: Connection) -> Any:
    try:
        result, error = connection.recv()
    except (EOFError, OSError):  # before an answer, or in the middle of one
        raise StorageError(
            "A process that was verifying was killed.",
            advice="Look whether the machine is short of memory, then run it again.",
        ) from None
    if error is not None:
        raise error
    return result
