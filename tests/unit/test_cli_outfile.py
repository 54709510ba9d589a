"""A file that a command writes is private, whole, and never in the place of another."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from syncvault.cli.outfile import new_file
from syncvault.errors import InputError


def test_a_file_appears_when_it_is_whole_and_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "export.vcf"
    with new_file(path, "--out") as file:
        file.write(b"content")
        assert not path.exists()
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="on the way"), new_file(tmp_path / "export.vcf", "--out"):
        raise ValueError("on the way")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "link to nowhere", "directory"])
def test_what_is_there_stays(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "export.vcf"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="--out exists already"), new_file(path, "--out"):
        pytest.fail("must not be opened")
    assert path.is_symlink() == (kind == "link to nowhere")


def test_what_appears_meanwhile_stays_too(tmp_path: Path) -> None:
    path = tmp_path / "export.vcf"
    with pytest.raises(InputError, match="exists already"), new_file(path, "--out"):
        path.write_text("precious")
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught, new_file(tmp_path / "none" / "export.vcf", "--out"):
        pytest.fail("must not be opened")
    assert str(tmp_path / "none") in caught.value.advice


def test_a_full_disk_is_a_sentence() -> None:
    with pytest.raises(InputError, match="cannot be written"), new_file(Path("/proc/export.vcf"), "--out"):
        pytest.fail("must not be opened")
