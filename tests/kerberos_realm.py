"""A real Kerberos realm on loopback for a test: MIT's KDC with a database of its own, in a folder that goes away."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.parts import require_programs

REALM = "EXAMPLE.COM"
ACCOUNT = f"svc-contacts@{REALM}"
SBIN = "/usr/sbin"  # where Debian has them, and not in everybody's PATH
_PASSWORDS_ALLOWED = 3


@dataclass
class Realm:
    """A running realm; `KRB5_CONFIG` leads to it, for the processes and the library alike."""

    home: Path
    port: int
    _running: list[subprocess.Popen[str]] = field(default_factory=list)

    def administer(self, *commands: str) -> str:
        """Runs kadmin.local's commands; gives what was said."""
        return self._run("kadmin.local", "-r", REALM, text="\n".join(commands))

    def keytab(self, *principals: str, new_keys: bool = False) -> Path:
        """A keytab with the keys of principals as they are, or with new ones that only it holds."""
        path = self.home / f"{len(list(self.home.glob('*.keytab')))}.keytab"
        how = "" if new_keys else "-norandkey"
        self.administer(*(f"ktadd -k {path} {how} {principal}" for principal in principals))
        return path

    def ticket_cache(self, principal: str = ACCOUNT, *, lifetime: str = "1h", wrapper: tuple[str, ...] = ()) -> Path:
        """A cache as `kinit` makes it, maybe through another program."""
        path = self.home / f"cache-{len(list(self.home.glob('cache-*')))}"
        keytab = self.keytab(principal)
        self._run(*wrapper, "kinit", "-c", f"FILE:{path}", "-l", lifetime, "-k", "-t", str(keytab), principal)
        return path

    def failed_attempts(self, principal: str = ACCOUNT) -> int:
        """How often somebody came with a wrong key since the last right one, as the KDC counts it."""
        shown = self.administer(f"getprinc {principal}")
        return int(shown.partition("Failed password attempts:")[2].split()[0])

    def stop(self) -> None:
        """Ends the KDC."""
        while self._running:
            process = self._running.pop()
            os.killpg(process.pid, signal.SIGTERM)  # a program around it would leave it alone
            process.communicate(timeout=10)  # to the end of what it says: then its port is free again

    def start(self, *wrapper: str) -> None:
        """Starts the KDC, maybe through another program."""
        process = subprocess.Popen(
            [*wrapper, _program("krb5kdc"), "-n", "-r", REALM],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._running.append(process)
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "commencing operation" in line:
                return
        pytest.fail(f"the KDC did not start: {''.join(said)}")

    @property
    def environment(self) -> dict[str, str]:
        """What leads processes here."""
        here = {"KRB5_CONFIG": str(self.home / "krb5.conf"), "KRB5_KDC_PROFILE": str(self.home / "kdc.conf")}
        return {**os.environ, **here, "LC_ALL": "C"}

    def _run(self, program: str, *arguments: str, text: str = "") -> str:
        done = subprocess.run(
            [_program(program), *arguments],
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "while" not in done.stderr, done.stderr  # kadmin.local succeeds also where a command did not
        return done.stdout


@contextmanager
def kerberos_realm(home: Path) -> Iterator[Realm]:
    """A realm with the service account and Exchange's service in it; everything here finds it meanwhile."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as ending:
        patch.setenv("PATH", os.pathsep.join([os.environ.get("PATH", ""), SBIN]))
        require_programs("krb5kdc", "kdb5_util", "kadmin.local", "kinit")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        realm = Realm(home, port)
        (home / "krb5.conf").write_text(_CLIENT.format(port=port))
        (home / "kdc.conf").write_text(_SERVER.format(port=port, home=home))
        patch.setenv("KRB5_CONFIG", realm.environment["KRB5_CONFIG"])
        for name in ("KRB5CCNAME", "KRB5_KTNAME", "KRB5_CLIENT_KTNAME"):
            patch.delenv(name, raising=False)
        realm._run("kdb5_util", "-r", REALM, "create", "-s", "-P", "master")
        realm.administer(
            f"addpol -maxfailure {_PASSWORDS_ALLOWED} -failurecountinterval 0 careful",
            f"addprinc -policy careful +requires_preauth -randkey {ACCOUNT}",
            f"addprinc -policy careful +requires_preauth -randkey other@{REALM}",
            f"addprinc -randkey HTTP/localhost@{REALM}",
        )
        realm.start()
        ending.callback(realm.stop)
        yield realm


def _program(name: str) -> str:
    return shutil.which(name) or name


_CLIENT = """\
[libdefaults]
    default_realm = NOWHERE.EXAMPLE
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    kdc_timesync = 0
[realms]
    EXAMPLE.COM = {{
        kdc = 127.0.0.1:{port}
    }}
[domain_realm]
    localhost = EXAMPLE.COM
    .example.com = EXAMPLE.COM
"""
_SERVER = """\
[kdcdefaults]
    kdc_listen = 127.0.0.1:{port}
    kdc_tcp_listen = 127.0.0.1:{port}
[realms]
    EXAMPLE.COM = {{
        database_name = {home}/principal
        key_stash_file = {home}/stash
    }}
[logging]
    kdc = STDERR
"""
