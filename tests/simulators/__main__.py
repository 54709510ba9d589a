"""Runs the simulators on their own: `python -m tests.simulators --online 0 --onprem 0 --faults server-error:0.1`.

Prints one JSON object with addresses, credentials and IDs when ready, and serves until SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trustme

from tests.simulators.company.cast import small_company
from tests.simulators.company.growth import grown_company
from tests.simulators.company.model import Company
from tests.simulators.control import Control
from tests.simulators.named_faults import NamedFaults, listed_faults
from tests.simulators.online.faults import Faults
from tests.simulators.online.registration import write_private
from tests.simulators.online.server import OnlineSimulator

_SHOWN = 50  # people listed


def main() -> None:
    """Starts what is asked for, says where it is, and waits."""
    options = _options()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    directory = options.directory or Path(tempfile.mkdtemp(prefix="simulators-"))
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        running, shown = _start(options, directory)
        print(json.dumps(shown, ensure_ascii=False), flush=True)
        stop.wait()
        for server in running:
            server.stop()
    finally:
        if options.directory is None:
            shutil.rmtree(directory, ignore_errors=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulators", description=__doc__)
    for name in ("online", "onprem", "control"):
        parser.add_argument(f"--{name}", type=int, metavar="PORT", help="0 takes any free port")
    parser.add_argument("--people", type=int, metavar="N", help="grow a company of N people instead of the small one")
    parser.add_argument("--contacts-per-mailbox", type=int, default=20, metavar="M")
    parser.add_argument(
        "--faults",
        action="append",
        default=[],
        metavar="NAME[:RATE|:always]",
        help="what goes wrong, see online/fault_modes.py and onprem/fault_modes.py; repeatable, or joined by commas",
    )
    parser.add_argument("--seed", type=int, help="the same faults and links in every run")
    parser.add_argument("--units", type=int, default=0, help="resource units of the directory in ten seconds")
    parser.add_argument("--directory", type=Path, help="where certificates and secrets are written; kept at exit")
    options = parser.parse_args()
    if options.online is None and options.onprem is None:
        options.online = options.onprem = 0
    try:
        _arm(options.faults, [faults() for faults in _faults_of(options)])
    except ValueError as error:
        parser.error(str(error))
    return options


def _faults_of(options: argparse.Namespace) -> list[Callable[[], NamedFaults[Any]]]:
    """Of the simulators asked for."""
    found: list[Callable[[], NamedFaults[Any]]] = []
    if options.online is not None:
        found.append(Faults)
    if options.onprem is not None:
        from tests.simulators.onprem.faults import Faults as OnpremFaults

        found.append(OnpremFaults)
    return found


def _arm(listed: list[str], servers: list[NamedFaults[Any]]) -> None:
    """Arms each fault at the servers that know it; one that nobody knows is a ValueError."""
    for name, word in (entry for text in listed for entry in listed_faults(text)):
        knowing = [faults for faults in servers if name in faults.known] or servers
        for faults in knowing:
            faults.arm_listed(f"{name}:{word}" if word else name)


def _start(options: argparse.Namespace, directory: Path) -> tuple[list[Any], dict[str, Any]]:
    company = grown_company(options.people, options.contacts_per_mailbox) if options.people else small_company()
    authority = trustme.CA()
    ca_file = directory / "ca.pem"
    ca_file.write_bytes(authority.cert_pem.bytes())
    simulators: dict[str, Any] = {}
    shown: dict[str, Any] = {"ca_file": str(ca_file), "control_url": None, "online": None, "onprem": None}
    if options.online is not None:
        # A load run would fill the memory with recorded answers.
        online = OnlineSimulator(company, authority, options.online, directory=directory, record=0, seed=options.seed)
        online.behaviour.resource_units = options.units
        simulators["online"] = online
        shown["online"] = _online(online)
    if options.onprem is not None:
        from tests.simulators.onprem.autodiscover import settings
        from tests.simulators.onprem.server import OnpremSimulator

        onprem = OnpremSimulator(company, authority, options.onprem, seed=options.seed)
        onprem.autodiscover.answers = [settings(onprem.url, onprem.url)]
        simulators["onprem"] = onprem
        shown["onprem"] = _onprem(onprem, company, directory)
    _arm(options.faults, [simulator.faults for simulator in simulators.values()])
    control = Control(company, simulators, authority, options.control or 0)
    shown["control_url"] = control.url
    running = [*simulators.values(), control]
    for server in running:
        server.start()
    return running, shown


def _online(simulator: OnlineSimulator) -> dict[str, Any]:
    files, company = simulator.files, simulator.company
    users = list(company.people.values())[:_SHOWN]
    return {
        "authority": simulator.origin,
        "graph_url": simulator.origin,
        "directory_id": simulator.directory_id,
        "client_id": simulator.client_id,
        "client_secret": simulator.client_secret,
        "client_secret_file": str(files.client_secret_file),
        "certificate_pem": str(files.certificate_pem),
        "certificate_pfx": str(files.certificate_pfx),
        "certificate_pfx_password_file": str(files.certificate_pfx_password_file),
        "users": [{"object_id": u.object_id, "mail": u.mail, "display_name": u.display_name} for u in users],
        "groups": [{"object_id": g.object_id, "display_name": g.display_name} for g in company.groups.values()],
    }


def _onprem(simulator: Any, company: Company, directory: Path) -> dict[str, Any]:
    password_file = directory / "service.password"
    write_private(password_file, simulator.password.encode())
    mailboxes = [person.mail for person in company.people.values() if person.box and person.mail]
    return {
        "ews_url": simulator.url,
        "username": simulator.username,
        "password": simulator.password,
        "password_file": str(password_file),
        "auth": ["ntlm", "basic"],
        "mailboxes": mailboxes[:_SHOWN],
    }


if __name__ == "__main__":
    main()
