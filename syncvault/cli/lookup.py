"""Finding the tenant that a command names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncvault.cli.audited import Entry
from syncvault.errors import DamagedError, NotFoundError

if TYPE_CHECKING:
    from syncvault.vault.model import Tenant
    from syncvault.vault.tenants import Roll
    from syncvault.vault.vault import Vault


def living(vault: Vault, name: str, entry: Entry | None = None) -> Tenant:
    """The tenant of that name, noted in the audit entry.

    Raises:
        NotFoundError: There is none, or its erasure has begun.
    """
    from syncvault.vault import tenants

    found = tenants.find(vault, name)
    if entry is not None:
        entry.tenant_id = found.id
    if found.profile is None:
        raise NotFoundError(
            "The tenant is being erased.", advice="`syncvault tenant delete NAME --yes` or `purge --yes` finishes it."
        )
    return found


def damage(roll: Roll) -> DamagedError | None:
    """What is to be said of tenants whose facts do not open; the others are shown all the same."""
    return DamagedError(" ".join(one.message for one in roll.damaged)) if roll.damaged else None
