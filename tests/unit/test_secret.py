"""A secret shows up nowhere but where it is opened, and neither do keys in what holds them."""

from __future__ import annotations

import base64
import copy
import logging
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from syncvault.crypto.index import BlindIndex
from syncvault.crypto.multiset import MultisetHash
from syncvault.crypto.place import Place
from syncvault.crypto.record import RecordCipher
from syncvault.secret import Secret
from syncvault.store.audit import SegmentRow
from syncvault.vault.keyring.keys import TenantKeys
from syncvault.vault.manifest import Manifest
from syncvault.vault.model import Credential, CredentialKind
from syncvault.vault.trail.audit_chain import Chain

TEXT = "pässword-5431"
KEY = bytes(range(64, 96))  # printable, so that it would be seen in the representation of bytes


@dataclass(frozen=True)
class Holder:
    secret: Secret


@pytest.mark.parametrize("given", [TEXT, TEXT.encode()])
def test_it_opens_to_the_bytes_it_was_given(given: str | bytes) -> None:
    assert Secret(given).reveal() == TEXT.encode()


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "{}".format,
        "%s %r".__mod__,
        lambda secret: repr([secret]),
        lambda secret: repr(Holder(secret)),
        lambda secret: repr(Credential(CredentialKind.SECRET, secret)),
    ],
)
def test_it_shows_nothing_when_printed(show: Callable[[Secret], str]) -> None:
    secret = Secret(TEXT)
    shown = show((secret, secret) if show == "%s %r".__mod__ else secret)  # type: ignore[arg-type]
    assert "5431" not in shown
    assert "Secret(…)" in shown


def test_it_shows_nothing_in_a_log_or_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(TEXT)
    try:
        raise RuntimeError(f"failed with {secret}")
    except RuntimeError as error:
        logging.getLogger("test").exception("%r", secret)
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "5431" not in shown + caplog.text


@pytest.mark.parametrize("leave", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_cannot_be_pickled_or_copied(leave: Callable[[Secret], object]) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        leave(Secret(TEXT))


@pytest.mark.parametrize("other", [Secret(TEXT), TEXT, TEXT.encode(), None])
def test_it_cannot_be_compared(other: object) -> None:
    with pytest.raises(TypeError, match="compare_digest"):
        _ = Secret(TEXT) == other
    with pytest.raises(TypeError, match="compare_digest"):
        _ = Secret(TEXT) != other


def test_it_cannot_be_hashed_or_carry_attributes() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Secret(TEXT))
    with pytest.raises(AttributeError):
        Secret(TEXT).note = TEXT  # type: ignore[attr-defined]


def test_an_empty_one_is_false() -> None:
    assert not Secret("")
    assert Secret(" ")


def cipher(*, used: bool) -> RecordCipher:
    made = RecordCipher({1: KEY}, 1, vault_id=bytes(16), tenant_id=bytes(16))
    if used:
        made.open(Place.CREDENTIAL, bytes(16), made.seal(Place.CREDENTIAL, bytes(16), TEXT.encode()))
    return made


@pytest.mark.parametrize(
    "holder",
    [
        cipher(used=False),
        cipher(used=True),
        BlindIndex(KEY),
        MultisetHash(KEY),
        Manifest(1, KEY, {}),
        Chain((SegmentRow(1, b"", b"", 1, b""),), KEY, KEY),
        TenantKeys(cipher(used=False), BlindIndex(KEY), 1, {1: BlindIndex(KEY)}),
    ],
    ids=lambda holder: type(holder).__name__,
)
def test_what_holds_keys_neither_shows_nor_pickles_them(holder: object) -> None:
    with pytest.raises(TypeError, match=r"not pickled|cannot pickle"):
        pickle.dumps(holder)
    with pytest.raises(TypeError, match=r"not pickled|cannot pickle"):
        copy.deepcopy(holder)
    shown = repr(holder)
    assert not any(form in shown for form in (str(KEY)[2:-1], KEY.hex(), base64.b64encode(KEY).decode()))
