"""One pull, measured in a process of its own: prints JSON.

Arguments: `record`, `syncvault`, `bare` or `deaf`; `online` or `onprem`; a file with what the simulators say of
themselves, and the profile and the way to sign in if they are not the usual ones; for `syncvault` a directory with the
vault, made if it is not there; else a file for the requests of a first pull, which `record` writes and the others send
again: `bare` as many at a time as a pull, parsing the answers, `deaf` one after the other over a connection that is
there, parsing nothing.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import requests
from lxml import etree
from requests_ntlm import HttpNtlmAuth

from scripts.benchmarks.clocks import Watch, peak_mib
from scripts.benchmarks.exchanges import Exchange, load, recorded, save
from scripts.benchmarks.vaults import TENANT, add_tenant, home_in, make_vault
from syncvault.secret import Secret
from syncvault.sync.connect import connect
from syncvault.sync.engine import sync
from syncvault.sync.summary import Options, Silence
from syncvault.vault import credentials, tenants
from syncvault.vault.content import sources
from syncvault.vault.model import Credential, CredentialKind, OnlineConnection, OnpremConnection, Scope
from syncvault.vault.opening import open_vault
from syncvault.vault.vault import Vault

PARALLEL: Final = 4  # mailboxes at a time there, downloads at a time here


def pull(info: dict[str, Any], side: str, directory: Path) -> dict[str, Any]:
    """A sync of everybody into the vault of a directory; a first one where there is none yet."""
    watch = Watch()
    with _vault_in(directory, info, side) as vault:
        tenant = tenants.find(vault, TENANT)
        connect(tenant.facts, credentials.load(vault, tenant)).close()  # loads what a run loads once, not per contact
        with watch.running():
            (summary,) = sync(vault, [tenant], Options(mailboxes=PARALLEL), Silence())
    if summary.status != "ok":
        raise SystemExit(f"the pull ended as {summary.to_dict()}")
    counts = summary.counts()
    return {**counts, "contacts": summary.added, **_figures(watch)}


def download(info: dict[str, Any], side: str, exchanges: list[Exchange], *, deaf: bool) -> dict[str, Any]:
    """The same requests through requests, the answers parsed unless deaf, and thrown away."""
    session = requests.Session()
    session.trust_env = False  # looking for proxies and passwords would cost it more than the rest
    session.verify = info["ca_file"]
    parse: Callable[[bytes], Any] = json.loads
    if side == "online":
        session.headers["Authorization"] = f"Bearer {_token(info)}"
    else:
        account = (info["onprem"]["username"], info["onprem"]["password"])
        session.auth = HttpNtlmAuth(*account) if _auth(info) == "ntlm" else account
        parse = etree.fromstring

    def send(exchange: Exchange) -> int:
        answer = session.request(
            exchange.method, exchange.url, headers=exchange.headers, data=exchange.body.encode() or None
        )
        if answer.status_code != exchange.status:
            raise SystemExit(f"{exchange.method} {exchange.url} is answered {answer.status_code} now")
        if answer.ok and not deaf:
            parse(answer.content)
        return len(answer.content)

    watch = Watch()
    if deaf:
        send(exchanges[0])
    with watch.running(), ThreadPoolExecutor(1 if deaf else PARALLEL) as pool:
        size = sum(pool.map(send, exchanges))
    return {"requests": len(exchanges), "bytes": size, **_figures(watch)}


def main(deed: str, side: str, info_file: str, place: str) -> None:
    info, path = json.loads(Path(info_file).read_text()), Path(place)
    found: list[Exchange] = []
    if deed in {"bare", "deaf"}:
        figures = download(info, side, load(path), deaf=deed == "deaf")
    elif deed == "syncvault":
        figures = pull(info, side, path)
    else:
        with tempfile.TemporaryDirectory(prefix="bench-") as directory, recorded(found):
            figures = pull(info, side, Path(directory))
        save(path, found)
    print(json.dumps(figures))


def _vault_in(directory: Path, info: dict[str, Any], side: str) -> Vault:
    if home_in(directory).exists():
        return open_vault(home_in(directory))
    directory.mkdir(exist_ok=True)
    vault = make_vault(directory)
    _register(vault, info, side)
    return vault


def _register(vault: Vault, info: dict[str, Any], side: str) -> None:
    ca_pem, place = Path(info["ca_file"]).read_text(), info[side]
    connection: OnlineConnection | OnpremConnection
    if side == "online":
        connection = OnlineConnection(
            place["directory_id"],
            place["client_id"],
            authority=place["authority"],
            graph_url=place["graph_url"],
            ca_pem=ca_pem,
        )
        credential = Credential(CredentialKind.SECRET, Secret(place["client_secret"].encode()))
        wanted = [("all-users", "")]
    else:
        connection = OnpremConnection(place["ews_url"], place["username"], auth=_auth(info), ca_pem=ca_pem)
        credential = Credential(CredentialKind.PASSWORD, Secret(place["password"].encode()))
        wanted = [("mailbox", address) for address in place["mailboxes"]]
    tenant = add_tenant(vault, connection, credential, Scope(profile=info.get("profile", "business")))
    for kind, ref in wanted:
        sources.add(vault, tenant, kind, ref)


def _auth(info: dict[str, Any]) -> str:
    return str(info.get("auth", "basic"))


def _token(info: dict[str, Any]) -> str:
    place = info["online"]
    answer = requests.post(
        f"{place['authority']}/{place['directory_id']}/oauth2/v2.0/token",
        data={
            "grant_type": "client_credentials",
            "client_id": place["client_id"],
            "client_secret": place["client_secret"],
            "scope": f"{place['graph_url']}/.default",
        },
        verify=info["ca_file"],
        timeout=60,
    )
    answer.raise_for_status()
    return str(answer.json()["access_token"])


def _figures(watch: Watch) -> dict[str, float]:
    return {"cpu": watch.cpu, "wall": watch.wall, "peak_mib": peak_mib()}


if __name__ == "__main__":
    main(*sys.argv[1:])
