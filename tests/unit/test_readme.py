"""What the documents say is what the command line takes and gives, and what they link to is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from syncvault.cli.app import app
from syncvault.cli.call import Call
from syncvault.errors import Exit

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/**/*.md")])
TEXTS = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in DOCUMENTS}
README = TEXTS["README.md"]


def typed() -> list[str]:
    """Every command that the README and the guide to operations have a reader type, continued lines joined."""
    texts = README + TEXTS["docs/OPERATIONS.md"]
    consoles = "".join(re.findall(r"^```console\n(.*?)^```", texts, re.DOTALL | re.MULTILINE))
    return re.findall(r"^[$#] (.+)$", consoles.replace("\\\n", " "), re.MULTILINE)


def named() -> list[tuple[str, str]]:
    """Every command that the README, or a document beside it, names in passing, with the document."""
    guides = {"docs/OPERATIONS.md", "docs/THREAT-MODEL.md"}
    texts = {name: text for name, text in TEXTS.items() if "/" not in name or name in guides}
    return [(name, said) for name, text in texts.items() for said in re.findall(r"`(syncvault [^`]+)`", text)]


def found(words: list[str]) -> tuple[Any, list[str]]:
    """The command that these words name, and the words that are left for it."""
    command: Any = get_command(app)
    while words and hasattr(command, "resolve_command"):
        context = command.make_context(None, words, obj=Call.guess(words, frozenset()), resilient_parsing=True)
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None, f"there is no {name}"
    return command, words


@pytest.mark.parametrize("line", [line for line in typed() if line.startswith("syncvault ")])
def test_the_readmes_commands_are_taken_by_the_command_line(line: str) -> None:
    command, words = found(shlex.split(line.partition(" > ")[0], comments=True)[1:])
    command.make_context(
        None, words, obj=Call.guess(words, frozenset())
    )  # refuses unknown options, and the lack of what is required


@pytest.mark.parametrize(("document", "said"), named())
def test_commands_named_in_passing_exist(document: str, said: str) -> None:
    command, words = found(shlex.split(said)[1:])
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options


def test_other_programs_in_the_readme_are_in_the_tree() -> None:
    scripts = {line.split()[0] for line in typed() if line.startswith("scripts/")}
    assert scripts >= {"scripts/demo", "scripts/test"}
    assert all((ROOT / script).stat().st_mode & 0o111 for script in scripts)


def test_the_readmes_exit_codes_are_those_of_the_command_line() -> None:
    table = README.partition("| exit code |")[2].partition("\n\n")[0]
    codes = [int(code) for row in re.findall(r"^\| ([0-9, ]+) \|", table, re.MULTILINE) for code in row.split(",")]
    assert codes == list(Exit)


@pytest.mark.parametrize("document", TEXTS)
def test_links_lead_to_files_of_the_tree(document: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXTS[document]) if "://" not in link]
    missing = [link for link in links if not (ROOT / document).parent.joinpath(link).exists()]
    assert missing == []
