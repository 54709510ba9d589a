"""Root keys wrapped by AWS KMS, bound to vault and generation by the encryption context.

By default each generation has a KMS key of its own, found by the alias `alias/syncvault-VAULT-ID-GENERATION`, so that
it can be destroyed: AWS deletes a key only after a waiting period of 7 days or more (AWS KMS Developer Guide,
"Deleting AWS KMS keys"), until when the answer is Pending. A key named by the option `key_id` serves every generation
and is never deleted by syncvault.

What the handle names is only ever looked for in the region that the settings name and, unless `key_id` names another
account's key, in the account of the credentials.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeVar

from syncvault.errors import RootKeyError
from syncvault.roots.aws_kms_api import (
    ACCESS_DENIED,
    ALREADY_EXISTS,
    NOT_FOUND,
    TOTAL_SECONDS,
    Kms,
    KmsRefusal,
    Way,
    answered,
    key_of,
    opened,
    unsafe_endpoint,
)
from syncvault.roots.port import (
    ROOT_KEY_BYTES,
    Destroyed,
    Destruction,
    Handle,
    NotPossible,
    Pending,
    ProviderSettings,
    RootKeyProvider,
    handle_number,
    handle_text,
    require_generation,
    require_provider,
    require_root_key,
)
from syncvault.roots.wrapping import does_not_fit, missing, require_same, wrapped_bytes, wrapped_text

_WINDOW_DAYS: Final = 7  # the shortest that AWS allows
_SETTLING: Final = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds; AWS KMS may know a new key everywhere only after a while
_ARN: Final = re.compile(r"(arn:aws[a-z-]*:kms:([a-z0-9-]+):([0-9]{12})):key/([A-Za-z0-9-]{1,64})")
_KEY_ID: Final = re.compile(r"(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:)?(key/|alias/)?[A-Za-z0-9/_-]{1,256}")
_REGION: Final = re.compile(r"[a-z0-9-]{1,64}")

T = TypeVar("T")


class _Key(NamedTuple):
    """A key as a handle names it."""

    arn: str
    account: str  # with everything before it: `arn:aws:kms:REGION:ACCOUNT`
    key_id: str
    generation: int


class AwsKmsProvider(RootKeyProvider):
    """Keeps an AWS KMS key per generation, or uses one that is named."""

    name = "aws-kms"
    takes = frozenset({"region", "endpoint", "profile", "key_id"})

    def __init__(
        self,
        settings: ProviderSettings,
        *,
        pause: Callable[[float], None] = time.sleep,
        patience: float = TOTAL_SECONDS,
    ) -> None:
        options, environment = settings.options, settings.environment
        self._vault = settings.vault_id
        self._way = Way(
            region=options.get("region") or environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION", ""),
            endpoint=options.get("endpoint", ""),
            profile=options.get("profile", ""),
            seconds=patience,
        )
        self._shared = options.get("key_id", "")
        self._pause = pause

    @property
    def remembers(self) -> Mapping[str, str]:
        """The region, and what else was named of endpoint, profile and key."""
        way = self._way
        known = {"region": way.region, "endpoint": way.endpoint, "profile": way.profile, "key_id": self._shared}
        return {name: value for name, value in known.items() if value}

    def create(self, generation: int) -> Handle:
        """Makes the generation's KMS key unless there is one, wraps a fresh root key, and unwraps that again.

        A key that its alias names already goes on being used: what it wrapped before still opens.
        """
        require_generation(generation)
        self._require_usable()
        key = os.urandom(ROOT_KEY_BYTES)
        with opened(self._way) as kms:
            found = self._named(kms) if self._shared else self._own(kms, generation)
            arn = str(found["Arn"])
            sealed = self._settled(
                lambda: kms.ask("encrypt", KeyId=arn, Plaintext=key, EncryptionContext=self._context(generation))
            )
            handle: Handle = {
                "provider": self.name,
                "generation": generation,
                "key": arn,
                "wrapped": wrapped_text(answered(sealed, "CiphertextBlob", bytes)),
            }
            require_same(self._settled(lambda: self._unwrap(kms, handle)), key, self._way.who)
        return handle

    def unwrap(self, handle: Handle) -> bytes:
        """Has AWS KMS decrypt the root key, unless its key is disabled or waits for its deletion."""
        self._require_usable()
        self._located(handle)
        wrapped_bytes(handle)
        with opened(self._way) as kms:
            return self._unwrap(kms, handle)

    def destroy(self, handle: Handle) -> Destruction:
        """Schedules the deletion of the generation's own key; Destroyed once AWS KMS knows the key no more."""
        self._require_usable()
        key = self._located(handle)
        with opened(self._way) as kms:
            own = self._described_alias(kms, key.generation)
            try:
                # By its ARN: for a key of another account AWS denies access, and does not say that there is none.
                found = kms.describe(key.arn)
            except KmsRefusal as refusal:
                if refusal.reason != ACCESS_DENIED:
                    raise
                return NotPossible(f"these AWS credentials may not look for the key {key.arn}")
            if found is None and own is None:
                return Destroyed()
            if found is None or found["Arn"] != key.arn:
                raise does_not_fit()
            if "Deletion" in str(found["KeyState"]):
                return _pending(found)
            if own is None or own["Arn"] != key.arn:
                return NotPossible(
                    f"the AWS KMS key {key.arn} is not this generation's own and may wrap others; once nothing needs "
                    "it, schedule its deletion in AWS, or leave out the option key_id and re-key the root"
                )
            return self._schedule(kms, key)

    def why_unusable(self) -> str | None:
        """It needs the library and a region; whether there are credentials shows when they are used."""
        why = missing("aws-kms", "boto3", "botocore")
        if why is None and not self._way.region:
            why = "No AWS region is named (option region, or AWS_REGION)."
        if why is None and not _REGION.fullmatch(self._way.region):
            why = f"The AWS region {self._way.region!r} is malformed."
        if why is None and self._way.endpoint:
            why = unsafe_endpoint(self._way.endpoint)
        if why is None and self._shared and not _KEY_ID.fullmatch(self._shared):
            why = f"The option key_id is a key's ID, ARN or alias, not {self._shared!r}."
        return why

    def describe(self) -> str:
        """What AWS KMS is worth."""
        return (
            "Protects copies of the whole machine and its backups, as long as AWS credentials are not among them: "
            "AWS logs every use and can be told to refuse. Does not protect against root while syncvault runs, nor "
            "against whoever holds the account. A generation is destroyed at the earliest 7 days after it was asked "
            "for, and with a shared key (key_id) not by syncvault at all."
        )

    def _require_usable(self) -> None:
        if (why := self.why_unusable()) is not None:
            raise RootKeyError(why, advice="For example: --root-key-option region=eu-central-1")

    def _alias(self, generation: int) -> str:
        return f"alias/syncvault-{self._vault}-{generation}"

    def _context(self, generation: int) -> dict[str, str]:
        return {"syncvault-vault": str(self._vault), "syncvault-generation": str(generation)}

    def _located(self, handle: Handle) -> _Key:
        require_provider(handle, self.name)
        generation = handle_number(handle, "generation")
        matched = _ARN.fullmatch(handle_text(handle, "key"))
        if matched is None:
            raise does_not_fit()
        if matched[2] != self._way.region:
            raise RootKeyError(
                f"The root key was wrapped in the AWS region {matched[2]}, not in {self._way.region}.",
                advice=f'Set region = "{matched[2]}" under [root_key_options] in vault.toml.',
            )
        return _Key(matched[0], matched[1], matched[4], generation)

    def _unwrap(self, kms: Kms, handle: Handle) -> bytes:
        key, wrapped = self._located(handle), wrapped_bytes(handle)
        # A bare ID is looked for in the credentials' account; the handle comes from a database and names none.
        asked = key.arn if self._shared.startswith(f"{key.account}:") else key.key_id
        found = kms.describe(asked)
        if found is None:
            raise KmsRefusal(
                f"AWS KMS does not know the key {key.arn} that wraps the root key.",
                NOT_FOUND,
                advice="Check the account; a key that was deleted does not come back.",
            )
        if found["Arn"] != key.arn:
            raise RootKeyError(
                f"The root key was wrapped by {key.arn}, which is not in the account of these credentials.",
                advice="Use credentials of that account, or name its key with the option key_id.",
            )
        _require_enabled(found)
        answer = kms.ask(
            "decrypt", KeyId=asked, CiphertextBlob=wrapped, EncryptionContext=self._context(key.generation)
        )
        if answered(answer, "KeyId", str) != key.arn:
            raise does_not_fit()
        return require_root_key(answered(answer, "Plaintext", bytes), f"the AWS KMS key {key.arn}")

    def _named(self, kms: Kms) -> dict[str, Any]:
        found = kms.describe(self._shared)
        if found is None:
            raise RootKeyError(
                f"AWS KMS has no key {self._shared} in {self._way.region}.", advice="Check the option key_id."
            )
        _require_enabled(found)
        return found

    def _own(self, kms: Kms, generation: int) -> dict[str, Any]:
        """The generation's own key, made if there is none."""
        alias = self._alias(generation)
        found = kms.describe(alias)
        if found is None:
            fresh = kms.ask("create_key", Description=f"syncvault {self._vault}, root key {generation}")
            made = key_of(fresh)
            try:
                self._settled(lambda: kms.ask("create_alias", AliasName=alias, TargetKeyId=made["KeyId"]))
            except RootKeyError as error:
                with suppress(RootKeyError):  # a key that no alias names would cost money for ever
                    kms.ask("schedule_key_deletion", KeyId=made["KeyId"], PendingWindowInDays=_WINDOW_DAYS)
                if not isinstance(error, KmsRefusal) or error.reason != ALREADY_EXISTS:
                    raise
                made = self._settled(lambda: _present(kms.describe(alias)))  # another process was faster
            return made
        _require_enabled(found)
        return found

    def _described_alias(self, kms: Kms, generation: int) -> dict[str, Any] | None:
        try:
            return kms.describe(self._alias(generation))
        except KmsRefusal as refusal:
            if refusal.reason != ACCESS_DENIED:  # credentials for a shared key alone may not look for others
                raise
            return None

    def _schedule(self, kms: Kms, key: _Key) -> Destruction:
        try:
            kms.ask("schedule_key_deletion", KeyId=key.key_id, PendingWindowInDays=_WINDOW_DAYS)
        except KmsRefusal as refusal:
            if refusal.reason != ACCESS_DENIED:
                raise
            return NotPossible(
                f"these AWS credentials may not schedule the deletion of the key {key.arn}; have that done in AWS"
            )
        return _pending(_present(kms.describe(key.arn)))

    def _settled(self, call: Callable[[], T]) -> T:
        """Calls until AWS KMS knows a new key everywhere (Developer Guide, "AWS KMS eventual consistency")."""
        for seconds in _SETTLING:
            try:
                return call()
            except KmsRefusal as refusal:
                if refusal.reason != NOT_FOUND:
                    raise
            self._pause(seconds)
        return call()


def _present(found: dict[str, Any] | None) -> dict[str, Any]:
    if found is None:
        raise KmsRefusal("AWS KMS does not know the key that it has just named.", NOT_FOUND)
    return found


def _pending(found: Mapping[str, Any]) -> Pending:
    due = found.get("DeletionDate")
    when = f" on {due.astimezone(UTC):%Y-%m-%d}" if isinstance(due, datetime) else ""
    return Pending(f"AWS KMS deletes the key {found['Arn']}{when}")


def _require_enabled(found: Mapping[str, Any]) -> None:
    state, arn = str(found["KeyState"]), found["Arn"]
    if state == "Enabled":
        return
    if "Deletion" in state:
        raise RootKeyError(
            f"The root key's AWS KMS key {arn} waits for its deletion; it is not used any more.",
            advice="If that was a mistake, cancel the deletion in AWS and enable the key.",
        )
    if state == "Disabled":
        raise RootKeyError(f"The root key's AWS KMS key {arn} is disabled.", advice="Enable it in AWS.")
    raise RootKeyError(
        f"The root key's AWS KMS key {arn} cannot be used: its state is {state}.", advice="Look at the key in AWS."
    )
