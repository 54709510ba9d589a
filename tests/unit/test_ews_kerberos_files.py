"""Of Kerberos's files it is read whose they are, and nothing is taken for one that is none."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.ews.sign_in.kerberos_files import KerberosFileError, cache_principal, keytab_principals, principal_of
from tests.kerberos_samples import ACCOUNT, CACHE, KEYTAB, SERVICE


def with_hole(keytab: bytes) -> bytes:
    """The keytab with its first entry deleted, as `kadmin ktremove` does it: the length turns negative."""
    (size,) = struct.unpack_from(">i", keytab, 2)
    return keytab[:2] + struct.pack(">i", -size) + bytes(size) + keytab[6 + size :]


def test_a_keytab_names_the_principals_it_has_keys_of() -> None:
    assert keytab_principals(KEYTAB) == (ACCOUNT, SERVICE)
    assert keytab_principals(KEYTAB + KEYTAB[2:]) == (ACCOUNT, SERVICE)


def test_a_deleted_entry_and_what_was_never_written_are_passed_over() -> None:
    assert keytab_principals(with_hole(KEYTAB)) == (SERVICE,)
    assert keytab_principals(KEYTAB + bytes(512)) == (ACCOUNT, SERVICE)
    assert keytab_principals(KEYTAB + bytes(4) + struct.pack(">i", 5) + b"stale") == (ACCOUNT, SERVICE)
    assert keytab_principals(KEYTAB[:2]) == ()


def test_a_ticket_cache_names_whose_tickets_it_holds() -> None:
    assert cache_principal(CACHE) == ACCOUNT
    assert cache_principal(b"\x05\x03" + CACHE[16:]) == ACCOUNT  # the form before tags


@pytest.mark.parametrize("content", [b"", b"\x05", b"\x05\x01" + KEYTAB[2:], CACHE, b"password\n", KEYTAB[:-5]])
def test_what_is_no_keytab_is_refused(content: bytes) -> None:
    with pytest.raises(KerberosFileError):
        keytab_principals(content)


@pytest.mark.parametrize("content", [b"", KEYTAB, b"\x05\x02" + CACHE[2:], CACHE[:50]])
def test_what_is_no_ticket_cache_is_refused(content: bytes) -> None:
    with pytest.raises(KerberosFileError):
        cache_principal(content)


@given(st.binary(max_size=200))
def test_whatever_stands_in_a_file_it_is_read_or_refused(content: bytes) -> None:
    for read, magic in ((keytab_principals, b"\x05\x02"), (cache_principal, b"\x05\x04")):
        with contextlib.suppress(KerberosFileError):
            read(magic + content)


@pytest.mark.parametrize(
    ("account", "found"),
    [
        (ACCOUNT, ACCOUNT),
        (ACCOUNT.lower(), ACCOUNT),
        ("EXAMPLE\\svc-contacts", ACCOUNT),
        ("SVC-Contacts", ACCOUNT),
        ("svc-contacts@mail.example", ACCOUNT),
        (SERVICE, SERVICE),
        ("somebody@EXAMPLE.TEST", ""),
        ("svc", ""),
        ("", ""),
    ],
)
def test_an_account_is_found_by_each_of_its_names(account: str, found: str) -> None:
    assert principal_of(account, (ACCOUNT, SERVICE)) == found


def test_between_two_realms_only_the_whole_name_decides() -> None:
    both = (ACCOUNT, "svc-contacts@OTHER.TEST")
    assert principal_of("EXAMPLE\\svc-contacts", both) == ""
    assert principal_of("svc-contacts@other.test", both) == both[1]
