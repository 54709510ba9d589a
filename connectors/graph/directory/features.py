"""What an application may do in a directory: every feature is tried by one cheap read.

What a token says is not enough: the permission to read contacts may be granted in Exchange (RBAC for Applications),
where no token tells of it, and it may be fenced to other mailboxes than those meant. So the reads decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from connectors.graph import paths
from connectors.graph.directory.permissions import NEEDS, NOT_TRIED, Checked, Feature, FeatureCheck
from connectors.graph.settings import ClientCertificate, ClientSecret, GraphSettings
from connectors.graph.sign_in.auth import open_tokens, roles_in
from connectors.graph.wire.client import GraphClient, TooLargeError, values
from connectors.graph.wire.refusals import Refusal
from connectors.graph.wire.transport import Transport
from connectors.port import Identity, ProtocolViolation, ServerFault, Throttled
from connectors.throttle import Now, RetryPolicy, Sleep

_TRIES: Final = 3  # mailboxes at most, until one answers
_PATIENCE: Final = RetryPolicy(attempts=3, patience=10.0)
_PEOPLE: Final = "$select=id,mail,accountEnabled&$top=20"


def check(
    settings: GraphSettings, *, users: Sequence[str] = (), groups: Sequence[str] = (), sleep: Sleep, now: Now
) -> Checked:
    """Signs in and tries every feature.

    Args:
        settings: The tenant.
        users: Object IDs of people whose mailboxes are meant; without any, somebody in a group or the directory.
        groups: Object IDs of groups that are meant.
        sleep: Waits some seconds.
        now: Tells the time.

    Raises:
        ConnectorError: Signing in failed, or nobody can be reached.
    """
    transport = Transport(settings.ca_pem, uses_proxy=settings.uses_proxy)
    tokens = open_tokens(settings, transport, sleep=sleep, now=now)
    client = GraphClient(transport, settings.graph_origin(), tokens, sleep, now)
    try:
        roles = roles_in(tokens.bearer())
        features = tuple(_features(client, frozenset(roles), users, groups))
    finally:
        client.close()
    credential = settings.credential
    ends = credential.not_after if isinstance(credential, ClientCertificate | ClientSecret) else None
    return Checked(Identity(settings.client_id, urlsplit(client.origin).netloc, roles, ends), features)


def _features(
    client: GraphClient, roles: frozenset[str], users: Sequence[str], groups: Sequence[str]
) -> Iterator[FeatureCheck]:
    def judged(feature: Feature, code: str | None) -> FeatureCheck:
        lacks = roles.isdisjoint(NEEDS[feature])
        if code == NOT_TRIED:
            return FeatureCheck(feature, not lacks, NEEDS[feature][:1] if lacks else (), code)
        return FeatureCheck(feature, code is None, NEEDS[feature][:1] if lacks and code is not None else (), code or "")

    people: list[str] = []
    members: list[str] = []
    group = f"{paths.group(groups[0])}/transitiveMembers/microsoft.graph.user?{_PEOPLE}" if groups else ""
    yield judged(Feature.USERS, _refused(client, f"/users?{_PEOPLE}", keep=people.extend))
    yield judged(Feature.GROUPS, _refused(client, group or "/groups?$select=id&$top=1", keep=members.extend))
    likely = [*users, *(members if groups else ())] or people
    yield judged(Feature.CONTACTS, _tried(client, likely, "/contactFolders?$select=id&$top=1"))
    yield judged(Feature.PHOTOS, _tried(client, likely, "/photo"))
    yield judged(Feature.ORG_CONTACTS, _refused(client, "/contacts?$select=id&$top=1"))


def _refused(client: GraphClient, path: str, keep: Callable[[list[str]], object] = len) -> str | None:
    """The code of what stands against a read; None if it is answered, be it that there is no such thing."""
    try:
        page = client.get_json(path, policy=_PATIENCE)
        if "value" in page:
            keep([key for entry in values(page) if (key := _with_mailbox(entry))])
    except Refusal as refusal:
        return None if refusal.status == 404 else refusal.code or f"http-{refusal.status}"
    except TooLargeError:
        return "answer-too-large"
    except (ProtocolViolation, ServerFault, Throttled) as failure:
        return failure.code
    return None


def _tried(client: GraphClient, keys: Sequence[str], path: str) -> str | None:
    """The same for a read that goes into somebody's mailbox: until one answers, and not whose mailbox is missing."""
    code = NOT_TRIED
    for key in keys[:_TRIES]:
        try:
            client.get_json(paths.user(key) + path, mailbox=key, policy=_PATIENCE)
        except Refusal as refusal:
            if refusal.no_user or refusal.no_mailbox:
                continue
            if refusal.status == 404:  # no photo: somebody looked
                return None
            code = refusal.code or f"http-{refusal.status}"
        except TooLargeError:
            code = "answer-too-large"
        except (ProtocolViolation, ServerFault, Throttled) as failure:
            code = failure.code
        else:
            return None
    return code


def _with_mailbox(entry: Any) -> str:
    is_likely = isinstance(entry, dict) and entry.get("mail") and entry.get("accountEnabled") is not False
    key = entry.get("id") if is_likely else None
    return key if isinstance(key, str) else ""
