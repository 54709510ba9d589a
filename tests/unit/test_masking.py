"""Masked values show enough to recognise, and no more."""

from __future__ import annotations

import pytest

from syncvault.masking import mask_address, mask_object_id, mask_ref

OBJECT_ID = "72f988bf-86f1-41af-91ab-2d7cd011db47"


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("jane.doe@example.com", "j…e@example.com"),
        ("jane@example.com", "j…e@example.com"),
        ("jan@example.com", "…@example.com"),
        ("j@example.com", "…@example.com"),
        ('"a@b"@example.com', '"…"@example.com'),
        ("EXAMPLE\\svc", "E…c"),
        ("", "…"),
    ],
)
def test_an_address_keeps_its_ends_and_its_domain(address: str, masked: str) -> None:
    assert mask_address(address) == masked


def test_an_object_id_keeps_its_first_eight_characters() -> None:
    assert mask_object_id(OBJECT_ID) == "72f988bf…"


def test_a_reference_is_masked_as_what_it_is() -> None:
    assert mask_ref(OBJECT_ID) == "72f988bf…"
    assert mask_ref("jane@example.com") == "j…e@example.com"
    assert mask_ref("Sales/Jane @ Home") == "S…e"
    assert mask_ref("a/jane") == "…"
    assert mask_ref("") == ""
