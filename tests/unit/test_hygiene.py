"""Nothing in a process's memory gets out by itself: not by a crash, an onlooker, a traceback, or a child process."""

from __future__ import annotations

import ast
import logging
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from syncvault import hygiene, journal
from syncvault.errors import RootKeyError
from syncvault.roots.port import ProviderSettings
from syncvault.roots.systemd import SystemdProvider

ROOT = Path(__file__).parents[2]
SECRET = "hunter2-in-memory"
NOBODY = 65534
LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has this")

# What the children run: root becomes somebody else first, which shuts a process too, so that is undone.
_AS_ANYBODY = f"""
import ctypes, os, resource, signal, sys
from syncvault import hygiene
libc = ctypes.CDLL(None)
if os.geteuid() == 0:
    os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY})
    libc.prctl(4, 1, 0, 0, 0)
"""
_CLOSED = "hygiene.close_memory()\n"
_OPEN = ""
_WAIT = "print('ready', flush=True); sys.stdin.read()\n"
_LOOK = "[open(f'/proc/{sys.argv[1]}/{name}', 'rb').read(1) for name in ('environ', 'auxv')]\n"
_UNLIMITED = (
    "os.chdir(sys.argv[1]); "
    "resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)\n"
)
_DUMP = "os.kill(os.getpid(), signal.SIGABRT)\n"


@contextmanager
def running(code: str) -> Iterator[int]:
    """A process that is up and waits."""
    with subprocess.Popen(
        [sys.executable, "-c", _AS_ANYBODY + code + _WAIT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.communicate()


def can_be_looked_into(pid: int) -> bool:
    """Whether another process of the same user reads what is behind its `/proc/PID`."""
    command = [sys.executable, "-c", _AS_ANYBODY + _LOOK, str(pid)]
    looked = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert looked.returncode == 0 or "PermissionError" in looked.stderr
    return looked.returncode == 0


def leaves_a_core(code: str, place: Path) -> bool:
    """Whether a process that aborts has its memory dumped."""
    command = [sys.executable, "-c", _AS_ANYBODY + _UNLIMITED + code + _DUMP, str(place)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=ROOT)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == -signal.SIGABRT
    return os.WCOREDUMP(status)


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that everybody may write to, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o777)
        yield Path(made)


@LINUX_ONLY
def test_a_closed_process_cannot_be_looked_into_by_others_of_its_user() -> None:
    with running(_OPEN) as pid:
        assert can_be_looked_into(pid)
    with running(_CLOSED) as pid:
        assert not can_be_looked_into(pid)


@LINUX_ONLY
@pytest.mark.parametrize("closed", [_CLOSED, "resource.setrlimit = lambda *_: None\n" + _CLOSED])
def test_a_closed_process_leaves_no_core_even_where_no_limit_holds(closed: str, open_place: Path) -> None:
    assert not leaves_a_core(closed, open_place)
    assert list(open_place.iterdir()) == []
    if not leaves_a_core(_OPEN, open_place):
        pytest.skip("this machine dumps no cores, so that proved nothing")


@LINUX_ONLY
def test_the_limit_cannot_be_raised_again() -> None:
    code = _AS_ANYBODY + _CLOSED + "print(resource.getrlimit(resource.RLIMIT_CORE))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT) == "(0, 0)\n"


def refuse(*_: object, **__: object) -> None:
    raise OSError(1, "Operation not permitted")


@LINUX_ONLY
def test_a_system_that_refuses_is_told_of_in_the_debug_log_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("resource.setrlimit", refuse)
    monkeypatch.setattr("ctypes.CDLL", refuse)
    with caplog.at_level(logging.DEBUG, "syncvault"):
        hygiene.close_memory()
    assert [record.levelno for record in caplog.records] == [logging.DEBUG] * 2
    assert all("not permitted" in record.getMessage() for record in caplog.records)


def test_other_systems_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("resource.setrlimit", refuse)
    monkeypatch.setattr("ctypes.CDLL", refuse)
    with caplog.at_level(logging.DEBUG, "syncvault"):
        hygiene.close_memory()
    assert caplog.records == []


_UNCAUGHT = """
import logging, sys, threading
from syncvault import hygiene
from syncvault.cli.failures import print_traceback
hygiene.show_no_values(print_traceback)
SECRET = sys.argv[1]
def fail(): raise ValueError(SECRET)
class Fallen:
    def __del__(self): fail()
"""


@pytest.mark.parametrize(
    "end",
    [
        "fail()",
        "threading.Thread(target=fail).start()",
        "Fallen()",
        "logging.warning('%d', SECRET)",
        "try: fail()\nexcept ValueError as error: raise KeyError(SECRET) from error",
    ],
)
def test_what_nobody_caught_is_shown_without_its_values(end: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"  # a file, as a traceback shows lines
    program.write_text(_UNCAUGHT + end)
    ended = subprocess.run(
        [sys.executable, str(program), SECRET],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))},
        check=False,
    )
    assert SECRET not in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    if "logging" not in end:
        assert "builtins.ValueError\n" in ended.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BAO_TOKEN", "s.x"),
        ("VAULT_TOKEN", "s.x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_SESSION_TOKEN", "x"),
        ("AZURE_CLIENT_SECRET", "x"),
        ("IDENTITY_HEADER", "x"),
        ("AZURE_CLIENT_CERTIFICATE_PASSWORD", "x"),
        ("PGPASSWORD", "x"),
        ("SYNCVAULT_PIN", "1234"),
        ("GITHUB_API_KEY", "x"),
        ("HTTPS_PROXY", "http://user:word@proxy.example:3128"),
    ],
)
def test_what_looks_like_a_secret_is_not_passed_on(name: str, value: str) -> None:
    assert hygiene.without_secrets({name: value, "PATH": "/bin"}) == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SYSTEMD_CREDENTIAL_SECRET", "/run/secret"),
        ("CREDENTIALS_DIRECTORY", "/run/credentials/x"),
        ("LANG", "de_DE.UTF-8"),
        ("SPINNER", "1"),
        ("HTTPS_PROXY", "http://proxy.example:3128"),
        ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/0/bus"),
    ],
)
def test_what_a_child_may_need_is_passed_on(name: str, value: str) -> None:
    assert hygiene.without_secrets({name: value}) == {name: value}


def spying(place: Path, name: str) -> Path:
    """A program of that name that writes down its environment, and fails."""
    program = place / name
    program.write_text(f"#!/bin/sh\nenv > '{place}/environment'\nexit 1\n")
    program.chmod(stat.S_IRWXU)
    return program


def test_no_child_is_given_our_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = tmp_path / "environment"
    monkeypatch.setenv("BAO_TOKEN", SECRET)
    with pytest.raises(journal.JournalUnreadable):
        list(journal.read([], ["X"], program=str(spying(tmp_path, "journalctl"))))
    assert "PATH=" in seen.read_text()
    assert SECRET not in seen.read_text()

    seen.unlink()
    spying(tmp_path, "systemd-creds")
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SYSTEMD_CREDENTIAL_SECRET": "/run/secret",
        "VAULT_TOKEN": SECRET,
    }
    provider = SystemdProvider(ProviderSettings(uuid4(), root_key_file=tmp_path / "root.cred", environment=environment))
    with pytest.raises(RootKeyError):
        provider.create(1)
    assert "SYSTEMD_CREDENTIAL_SECRET=/run/secret" in seen.read_text()
    assert SECRET not in seen.read_text()


def test_every_child_process_in_the_source_is_started_without_our_secrets() -> None:
    sources = [path for part in ("syncvault", "connectors") for path in (ROOT / part).rglob("*.py")]
    calls = [
        node
        for path in sources
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("subprocess.", "os.exec", "os.spawn"))
    ]
    assert calls
    for call in calls:
        environment = next((ast.unparse(word.value) for word in call.keywords if word.arg == "env"), "")
        assert environment.startswith("without_secrets("), ast.unparse(call)
    text = "".join(path.read_text("utf-8") for path in sources)
    assert not any(word in text for word in ("os.system(", "os.popen(", "shell=True", "create_subprocess"))
