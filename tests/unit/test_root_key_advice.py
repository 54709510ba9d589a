"""Every refusal that has to do with a root key says what to do about just that."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "syncvault"
MODULES = [*sorted((SOURCES / "roots").glob("*.py")), SOURCES / "vault" / "keyring" / "root_rotation.py"]


def refusals(module: Path) -> list[ast.Call]:
    """The places at which the module makes a `RootKeyError`."""
    nodes = ast.walk(ast.parse(module.read_text("utf-8")))
    return [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "RootKeyError"]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_no_refusal_falls_back_on_the_advice_for_a_lost_root_key(module: Path) -> None:
    bare = [one.lineno for one in refusals(module) if "advice" not in {given.arg for given in one.keywords}]
    assert bare == []


def test_refusals_are_found() -> None:
    assert sum(len(refusals(module)) for module in MODULES) > 50
