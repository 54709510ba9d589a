"""What keeps the contents of this process's memory inside it: no core dumps, no onlookers, no values in tracebacks.

Python cannot promise that memory is wiped. So nothing of it may get out by itself: not by a crash, not through another
process of the same user, not by an exception that nobody caught, not to a child process.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

_log = logging.getLogger(__name__)

_PR_SET_DUMPABLE: Final = 4  # <linux/prctl.h>
_SECRET_NAME: Final = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|PRIVATE_?KEY|API_?KEY|^IDENTITY_HEADER$|(^|_)(PASS|PIN)(_|$)", re.IGNORECASE
)
_NAMED_BY_SYSTEMD: Final = "SYSTEMD_"  # what these hold is no secret: SYSTEMD_CREDENTIAL_SECRET is a path
_USER_AND_PASSWORD: Final = re.compile(r"://[^/@\s]*:[^/@\s]*@")


def close_memory() -> None:
    """Keeps memory out of core dumps, and from other processes of the same user.

    Call it before anything secret is read. Root can look in all the same. Systems other than Linux are left as they
    are; where Linux refuses, the debug log says so.
    """
    if sys.platform != "linux":
        return
    import resource  # noqa: PLC0415  (not everywhere)

    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:
        _log.debug("core dumps cannot be limited: %s", error)
    # The limit does not bind a program that receives dumps through a pipe (core(5)), and says nothing of ptrace(2) and
    # /proc/PID/mem; this does (prctl(2), PR_SET_DUMPABLE).
    try:
        import ctypes  # noqa: PLC0415  (costs milliseconds, and may be left out of a Python)

        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    except (ImportError, AttributeError, OSError) as error:
        _log.debug("the process cannot be closed to others: %s", error)


def show_no_values(show: Callable[[BaseException], None]) -> None:
    """Has exceptions that nobody caught shown by `show`, and not by their texts, which may hold secrets.

    Args:
        show: Tells of an exception without its values.
    """

    def show_uncaught(kind: object, error: BaseException, trace: object) -> None:  # noqa: ARG001  (Python's signature)
        show(error)

    def show_other(caught: Any) -> None:  # of a thread, or where Python cannot raise
        if caught.exc_value is not None:
            show(caught.exc_value)

    sys.excepthook = show_uncaught
    threading.excepthook = show_other
    sys.unraisablehook = show_other
    logging.raiseExceptions = False  # else a record that cannot be written is printed with its arguments


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child process: all but variables that look as if they held a secret.

    Tokens and passwords meant for this process are none of another program's business.
    """
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(_NAMED_BY_SYSTEMD) or not (_SECRET_NAME.search(name) or _USER_AND_PASSWORD.search(value))
    }
