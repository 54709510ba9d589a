"""The command line starts quickly because it loads nothing that it does not use."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from syncvault import __version__
from syncvault.cli.app import NOUNS

pytestmark = pytest.mark.slow  # starts the program for each
HEAVY = {
    "exchangelib",
    "msal",
    "requests",
    "sqlalchemy",
    "alembic",
    "psycopg",
    "keyring",
    "cryptography",
    "rich",
    "lxml",
}


def run_and_list_modules(*argv: str) -> tuple[str, set[str]]:
    """What a call prints, and which packages it has loaded by its end."""
    script = (
        "import sys\nfrom syncvault.__main__ import main\ncode = main(sys.argv[1:])\n"
        "print('MODULES', *sorted({name.partition('.')[0] for name in sys.modules}))\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, text=True, check=True)
    text, _, modules = done.stdout.partition("MODULES")
    return text, set(modules.split())


def test_the_version_is_answered_before_typer_is_loaded() -> None:
    text, modules = run_and_list_modules("--version")
    assert text == f"syncvault {__version__}\n"
    assert not modules & (HEAVY | {"typer", "click"})


def test_the_version_is_answered_beside_other_options() -> None:
    assert run_and_list_modules("--home", "/nowhere", "--version")[0] == f"syncvault {__version__}\n"


def test_help_names_every_noun_and_loads_none() -> None:
    text, modules = run_and_list_modules("--help")
    assert all(f"\n  {noun} " in text for noun in NOUNS)
    assert not modules & HEAVY


@pytest.mark.parametrize("noun", list(NOUNS))
def test_help_of_a_noun_loads_nothing_that_talks_or_stores(noun: str) -> None:
    text, modules = run_and_list_modules(noun, "--help")
    assert text.startswith(f"Usage: syncvault {noun}")
    assert not modules & HEAVY


@pytest.mark.parametrize("verb", ["add-online", "add-onprem", "import", "list", "show", "edit", "delete"])
def test_help_of_a_verb_loads_nothing_that_talks_or_stores(verb: str) -> None:
    text, modules = run_and_list_modules("tenant", verb, "--help")
    assert text.startswith(f"Usage: syncvault tenant {verb}")
    assert not modules & HEAVY


def test_the_version_comes_as_json_too() -> None:
    text = run_and_list_modules("--version", "--json")[0]
    assert json.loads(text) == {"schema": "syncvault/1", "command": "--version", "data": {"version": __version__}}


@pytest.mark.parametrize("noun", list(NOUNS))
def test_help_of_a_noun_offers_no_options_that_are_not_ours(noun: str) -> None:
    assert "completion" not in run_and_list_modules(noun, "--help")[0]
