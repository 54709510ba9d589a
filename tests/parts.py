"""Real parts of the machine that some tests run against: missing ones fail in CI, and skip elsewhere."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
import trustme

SOFTHSM_MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")


def require_programs(*names: str) -> None:
    """Goes on only where all programs are installed."""
    _require([name for name in names if shutil.which(name) is None])


def require_modules(*names: str) -> None:
    """Goes on only where all Python packages are installed that wait for something of the system."""
    _require([name for name in names if importlib.util.find_spec(name) is None])


def _require(missing: list[str]) -> None:
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


@dataclass(frozen=True)
class OpenBao:
    """A running OpenBao server, and who administers it."""

    address: str
    ca_file: Path
    root_token: str = field(default="", repr=False)
    unseal_key: str = field(default="", repr=False)

    def ask(self, method: str, path: str, body: object = None, *, token: str = "", namespace: str = "") -> Any:
        """An administrator's request; gives the whole answer."""
        headers = {"X-Vault-Token": token or self.root_token, "X-Vault-Namespace": namespace}
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(self.ca_file)
            answer = session.request(method, f"{self.address}/v1/{path}", json=body, headers=headers, timeout=30)
        answer.raise_for_status()
        return answer.json() if answer.content else {}

    def key(self, name: str, mount: str = "transit") -> dict[str, Any]:
        """What the server says of a transit key."""
        return dict(self.ask("GET", f"{mount}/keys/{name}")["data"])

    def token(self, rules: str) -> str:
        """A token that may do what the policy says, and what every token may."""
        name = f"policy-{uuid4()}"
        self.ask("PUT", f"sys/policies/acl/{name}", {"policy": rules})
        made = self.ask("POST", "auth/token/create", {"policies": [name]})
        return str(made["auth"]["client_token"])

    def unseal(self) -> None:
        """Opens the barrier."""
        self.ask("PUT", "sys/unseal", {"key": self.unseal_key})


@contextmanager
def openbao_server(home: Path, ca: trustme.CA) -> Iterator[OpenBao]:
    """A real OpenBao server over TLS, unsealed, with a transit engine, and everything of it in memory."""
    program = shutil.which("bao", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if program is None:
        require_programs("bao")  # says so
    ca_file, certificate, configuration = home / "ca.pem", home / "server.pem", home / "server.json"
    ca.cert_pem.write_to_path(str(ca_file))
    ca.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    listener = {"address": f"127.0.0.1:{port}", "tls_cert_file": str(certificate), "tls_key_file": str(certificate)}
    configuration.write_text(
        json.dumps(
            {
                "storage": {"inmem": {}},
                "listener": [{"tcp": listener}],
                "api_addr": f"https://127.0.0.1:{port}",
                "disable_clustering": True,
            }
        )
    )
    with (
        (home / "server.log").open("w") as log,
        subprocess.Popen(
            [str(program), "server", f"-config={configuration}"], stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdout is not None
        assert any("started!" in line for line in process.stdout), (home / "server.log").read_text()
        try:
            yield _initialised(OpenBao(f"https://127.0.0.1:{port}", ca_file))
        finally:
            process.terminate()


def _initialised(server: OpenBao) -> OpenBao:
    made = server.ask("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
    server = replace(server, root_token=made["root_token"], unseal_key=made["keys"][0])
    server.unseal()
    server.ask("POST", "sys/mounts/transit", {"type": "transit"})
    return server


@contextmanager
def kms_server() -> Iterator[str]:
    """moto's AWS KMS on loopback, a fake that keeps to the API's shape; gives its URL.

    It decrypts with a key that waits for its deletion, which AWS never does: that nothing opens any more then is what
    the provider sees to, and erasure cannot be proved with it.
    """
    from botocore import session
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        with pytest.MonkeyPatch.context() as patch:
            # Else each client reads the library's description of every service anew, which is what a test would take.
            patch.setattr(session, "create_loader", cache(session.create_loader))
            yield f"http://{host}:{port}"
    finally:
        server.stop()
