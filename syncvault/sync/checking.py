"""What a credential is good for: one sign-in, and a try of everything that a tenant's sources call for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final

from connectors.graph.directory.permissions import NOT_TRIED, Feature
from connectors.port import (
    Connector,
    ConnectorError,
    CredentialRejected,
    Ended,
    Identity,
    NoMailbox,
    NotPermitted,
    Source,
    SourceKind,
    Wanted,
)
from syncvault.sync import onprem
from syncvault.sync.connect import ExchangeError, graph_settings
from syncvault.sync.parallel import Stop
from syncvault.sync.scope import selection_of
from syncvault.vault.model import Credential, OnlineConnection, OnpremConnection, Scope, TenantProfile

if TYPE_CHECKING:
    from syncvault.vault.content.sources import StoredSource

_IMPERSONATION: Final = "ApplicationImpersonation"
_IMPERSONATING: Final = frozenset({"mailbox", "list"})  # kinds of sources whose mailboxes are opened in their own name


@dataclass(frozen=True, slots=True)
class Tried:
    """Whether one thing works.

    Attributes:
        feature: What was tried.
        ok: It worked.
        needed: The tenant's sources call for it.
        needs: Permissions, or roles, of which one is needed; the least one first.
        missing: What to grant.
        code: The server's word for its refusal; `not-tried` where there was nothing to try it with; else empty.
        advice: What to do about a refusal, where the server's word says more than a missing permission.
    """

    feature: str
    ok: bool
    needed: bool
    needs: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    code: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """Whom the server took us for, and what works."""

    identity: Identity
    tried: tuple[Tried, ...]


def check(profile: TenantProfile, credential: Credential, sources: Sequence[StoredSource]) -> Checked:
    """Signs in once and tries what a tenant's sources may call for.

    Args:
        profile: The tenant.
        credential: What opens it.
        sources: What is registered.

    Raises:
        ExchangeError: It was refused, or there was nobody to ask.
    """
    connection = profile.connection
    try:
        if isinstance(connection, OnlineConnection):
            return _online(connection, profile.scope, credential, sources)
        return _onprem(connection, profile.scope, credential, sources)
    except ConnectorError as failure:
        raise ExchangeError(failure) from failure


def _online(
    connection: OnlineConnection, scope: Scope, credential: Credential, sources: Sequence[StoredSource]
) -> Checked:
    from connectors import graph  # noqa: PLC0415  (lazy: loads msal)

    users, groups = ([one.ref for one in sources if one.kind == kind] for kind in ("user", "group"))
    found = graph.check(graph_settings(connection, credential), users=users, groups=groups)
    needed = frozenset[Feature]().union(*(_features(source, scope) for source in sources))
    return Checked(
        found.identity,
        tuple(
            Tried(str(one.feature), one.ok, one.feature in needed, one.needs, one.missing, one.code)
            for one in found.features
        ),
    )


def _features(source: StoredSource, scope: Scope) -> set[Feature]:
    """What a source calls for."""
    if source.kind == "org-contacts":
        return {Feature.ORG_CONTACTS}
    needed = {Feature.USERS, Feature.CONTACTS}
    if source.kind == "group" or source.filter.exclude_group:
        needed.add(Feature.GROUPS)
    if selection_of(scope).photos:
        needed.add(Feature.PHOTOS)
    return needed


def _onprem(
    connection: OnpremConnection, scope: Scope, credential: Credential, sources: Sequence[StoredSource]
) -> Checked:
    from connectors import ews  # noqa: PLC0415  (lazy: loads exchangelib)

    first = {source.kind: source for source in reversed(sources)}  # the first one of each kind
    settings, stop = onprem.settings(connection, credential), Stop()
    with closing(ews.connect(settings, selection=selection_of(scope), page_size=1, sleep=stop.wait)) as connector:
        try:
            identity = connector.probe()
            return Checked(identity, tuple(_tried(connector, first[kind]) for kind in sorted(first)))
        finally:  # whatever was read ahead of the first page
            stop.set()
            connector.hang_up()


def _tried(connector: Connector, source: StoredSource) -> Tried:
    """What becomes of a look at the first mailbox of a source, with no more than a page of it."""
    needs = (_IMPERSONATION,) if source.kind in _IMPERSONATING else ()
    tried = partial(Tried, str(source.kind), needed=True, needs=needs)
    try:
        return tried(ok=True, code="" if _reads(connector, source) else NOT_TRIED)
    except CredentialRejected:
        raise  # nothing more may be tried
    except NotPermitted as refusal:
        return tried(ok=False, missing=needs, code=refusal.code, advice=refusal.advice)
    except ConnectorError as failure:
        return tried(ok=False, code=failure.code, advice=failure.advice)


def _reads(connector: Connector, source: StoredSource) -> bool:
    """Whether anything of the source was there to read; raises what stands against it."""
    for card in connector.resolve(Source(SourceKind(source.kind), source.ref)):
        if card.error is not None:
            continue
        if not card.mailbox.opens:
            return True
        for step in chain.from_iterable(connector.changes([Wanted(card.mailbox)])):
            error = step.outcome.error if isinstance(step.outcome, Ended) else None
            if error is None:
                return True
            if not isinstance(error, NoMailbox):
                raise error
    return False
