"""A tenant whose Exchange is the simulator on premises, and people with mailboxes there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from syncvault.secret import Secret
from syncvault.vault import tenants
from syncvault.vault.content import sources
from syncvault.vault.model import Credential, CredentialKind, OnpremConnection, Tenant
from syncvault.vault.vault import Vault
from tests.conftest import Authority
from tests.integration.vault_parts import profile
from tests.simulators.company.cast import ANNA, JURGEN, MEI, NILS
from tests.simulators.onprem.mailboxes import primary_address
from tests.simulators.onprem.server import OnpremSimulator
from tests.simulators.onprem.transport import Incoming, Outgoing

PEOPLE = (ANNA, JURGEN, MEI, NILS)
Respond = Callable[[Incoming], Outgoing]


def register(
    vault: Vault,
    server: OnpremSimulator,
    authority: Authority,
    *people: str,
    auth: str = "ntlm",
    password: str = "",
    credential: Credential | None = None,
    **connection: str,
) -> Tenant:
    """Registers the company of a simulator and the mailboxes of these people."""
    facts = {"ews_url": server.url, "username": server.username, "auth": auth, "ca_pem": authority.ca_pem}
    reached = OnpremConnection(**{**facts, **connection})
    credential = credential or Credential(CredentialKind.PASSWORD, Secret(password or server.password))
    tenant = tenants.register(vault, replace(profile(), connection=reached), credential)
    for address in addresses(server, people or PEOPLE):
        sources.add(vault, tenant, "mailbox", address)
    return tenant


def addresses(server: OnpremSimulator, people: tuple[str, ...] = PEOPLE) -> list[str]:
    """Their primary addresses."""
    return [primary_address(server.company.people[person]) for person in people]


def stand_between(server: OnpremSimulator, stranger: Callable[[Incoming, Respond], Outgoing]) -> None:
    """Puts something between clients and the server: it is given each request, and what passes it on."""
    respond = server.respond
    server.respond = lambda incoming: stranger(incoming, respond)  # type: ignore[method-assign]
