"""Real parts of the machine that some tests run against: missing ones fail in CI, and skip elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

SOFTHSM_MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")


def require_programs(*names: str) -> None:
    """Goes on only where all programs are installed."""
    missing = [name for name in names if shutil.which(name) is None]
    if not missing:
        return
    reason = f"not installed: {', '.join(missing)}"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (CI installs every real part)")
    pytest.skip(reason)


@contextmanager
def secret_service(home: Path) -> Iterator[Mapping[str, str]]:
    """An unlocked GNOME Keyring on a session bus of its own; gives the environment that reaches it."""
    require_programs("dbus-run-session", "gnome-keyring-daemon")
    runtime = home / "runtime"
    runtime.mkdir(mode=0o700)
    base = {
        key: value for key, value in os.environ.items() if not key.startswith(("DBUS_", "XDG_", "GNOME_", "DISPLAY"))
    }
    environment = {**base, "HOME": str(home), "XDG_RUNTIME_DIR": str(runtime)}
    # The bus lives as long as `cat` waits for its input, the daemon as long as the bus.
    script = "printf pass | gnome-keyring-daemon --unlock --components=secrets --daemonize >&2 && "
    script += 'echo "$DBUS_SESSION_BUS_ADDRESS" && exec cat'
    with subprocess.Popen(
        ["dbus-run-session", "--", "sh", "-c", script],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        address = session.stdout.readline().strip()
        assert address, "the session bus or the keyring did not start"
        yield {"DBUS_SESSION_BUS_ADDRESS": address, "HOME": str(home), "XDG_RUNTIME_DIR": str(runtime)}
        session.stdin.close()
        session.wait(timeout=10)


def softhsm_module() -> Path:
    """SoftHSM's PKCS#11 module."""
    require_programs("softhsm2-util")
    return next(path for path in map(Path, SOFTHSM_MODULES) if path.is_file())


def softhsm_token(home: Path, label: str, pin: str) -> Path:
    """Makes a SoftHSM token with a configuration of its own; gives what `SOFTHSM2_CONF` has to name."""
    require_programs("softhsm2-util")
    (home / "tokens").mkdir(parents=True, exist_ok=True)
    configuration = home / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {home}/tokens\nlog.level = ERROR\n")
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", "so-secret"],
        env={**os.environ, "SOFTHSM2_CONF": str(configuration)},
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=30,
    )
    return configuration
