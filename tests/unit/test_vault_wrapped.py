"""Wrapped keys: how their rows are made, and what is said of one that does not open."""

from __future__ import annotations

import re
from uuid import UUID

import pytest

from syncvault.crypto.record import RecordCipher
from syncvault.errors import DamagedError, RootKeyError
from syncvault.roots.passphrase import PassphraseProvider
from syncvault.store.keys import WrappedKeyRow
from syncvault.store.schema import VAULT_TENANT
from syncvault.vault.keyring import wrapped
from syncvault.vault.keyring.wrapped import Purpose
from tests import format_reader
from tests.integration.vault_parts import NOW

VAULT_ID = bytes(range(16))
TENANT = b"t" * 16


def root(key: bytes = b"r" * 32, generation: int = 3) -> RecordCipher:
    return RecordCipher({generation: key}, generation, vault_id=VAULT_ID, tenant_id=VAULT_TENANT)


def fresh(tenant_id: bytes, purpose: Purpose = Purpose.DATA) -> WrappedKeyRow:
    (row,) = wrapped.fresh_keys(root(), tenant_id, [purpose], NOW, generation=2)
    return row


def test_a_fresh_key_opens_and_its_row_says_what_it_is() -> None:
    row = fresh(TENANT)
    assert row[1:6] == (TENANT, "data", 2, "current", 3)
    assert row.created_at == int(NOW.timestamp())
    assert len(wrapped.unwrap(root(), row)) == 32


def test_a_root_row_is_not_in_force_before_its_key_is_stored() -> None:
    row = wrapped.root_row(PassphraseProvider.__new__(PassphraseProvider), 5, {"salt": "ä"}, NOW)
    assert row == (5, "passphrase", '{"salt":"ä"}', "creating", int(NOW.timestamp()), None)


@pytest.mark.parametrize("purpose", list(Purpose))
def test_purpose_and_generation_are_bound_as_the_format_says(purpose: Purpose) -> None:
    row = fresh(TENANT, purpose)
    assert wrapped.bound_columns(row) == tuple(format_reader.wrapped_key_columns(str(purpose), 2))


def test_a_key_of_the_vault_under_another_root_key_says_that_the_root_key_is_wrong() -> None:
    row = fresh(VAULT_TENANT, Purpose.NAMES)
    said = r"^The root key is not the one this vault was made with\.$"
    with pytest.raises(RootKeyError, match=said):
        wrapped.unwrap(root(b"s" * 32), row)


@pytest.mark.parametrize(
    ("tenant_id", "whose"), [(VAULT_TENANT, "the vault itself"), (TENANT, f"tenant {UUID(bytes=TENANT)}")]
)
def test_a_key_that_was_altered_is_named(tenant_id: bytes, whose: str) -> None:
    row = fresh(tenant_id)
    said = f"^Row {UUID(bytes=row.id)} of wrapped_keys, a key of {whose}, does not open: .+[^.]\\.$"
    with pytest.raises(DamagedError, match=said):
        wrapped.unwrap(root(), row._replace(blob=row.blob[:-1] + bytes([row.blob[-1] ^ 1])))


def test_a_key_of_a_tenant_under_another_root_key_is_damage_to_that_tenant_alone() -> None:
    row = fresh(TENANT)
    with pytest.raises(DamagedError, match=re.escape(f"a key of tenant {UUID(bytes=TENANT)}, does not open")):
        wrapped.unwrap(root(b"s" * 32), row)
