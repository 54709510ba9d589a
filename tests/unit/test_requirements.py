"""The pinned requirement files fit pyproject.toml and name no place to get from; what else it names is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
RUNTIME = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["postgres"]]
BUILD, DEVELOPMENT = PROJECT["dependency-groups"]["build"], PROJECT["dependency-groups"]["dev"]
WANTED = {
    "requirements.txt": RUNTIME + BUILD,
    "requirements-dev.txt": RUNTIME + BUILD + DEVELOPMENT,
    "requirements-kerberos.txt": PROJECT["project"]["optional-dependencies"]["kerberos"],
    "scripts/requirements-kerberos-build.txt": PROJECT["dependency-groups"]["kerberos"],
}


def pins(file: str) -> dict[str, str]:
    """The version of each package that the file pins."""
    return dict(re.findall(r"^([a-z0-9._-]+)==([^ ;]+)", (ROOT / file).read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("file", WANTED)
def test_every_requirement_is_pinned_to_a_version_that_fits(file: str) -> None:
    pinned = pins(file)
    wanted = [Requirement(text) for text in WANTED[file]]
    assert [str(one) for one in wanted if not one.specifier.contains(pinned.get(one.name.lower(), "0"))] == []


def test_both_files_pin_the_same_versions() -> None:
    assert pins("requirements.txt").items() <= pins("requirements-dev.txt").items()


@pytest.mark.parametrize("file", [*WANTED, "scripts/requirements-uv.txt"])
def test_every_pin_has_hashes_and_no_address(file: str) -> None:
    text = (ROOT / file).read_text("utf-8")
    assert re.findall(r"^[a-z0-9].*[^\\]$", text, re.MULTILINE) == []
    assert "://" not in text


def test_what_mutation_testing_changes_runs_and_reports_is_in_the_tree() -> None:
    settings = PROJECT["tool"]["mutmut"]
    patterns = settings["only_mutate"] + settings["pytest_add_cli_args_test_selection"]
    assert [each for each in patterns if not list(ROOT.glob(each))] == []
    reported = re.findall(
        r"^\| `([a-z_]+/[a-z_/.]*)` \|", (ROOT / "tests" / "MUTATION.md").read_text("utf-8"), re.MULTILINE
    )
    assert "crypto/record.py" in reported
    assert [each for each in reported if not (ROOT / "syncvault" / each).exists()] == []
