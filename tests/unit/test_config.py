"""Settings come from the places an administrator expects, and a mistake in them is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncvault import config
from syncvault.errors import InputError, UsageError


@pytest.fixture
def system(tmp_path: Path) -> Path:
    (tmp_path / "etc" / "conf.d").mkdir(parents=True)
    return tmp_path / "etc"


@pytest.fixture
def person(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "xdg" / "syncvault").mkdir(parents=True)
    return {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "xdg"), "XDG_DATA_HOME": str(tmp_path / "data")}


def test_root_keeps_its_data_under_var_lib(system: Path) -> None:
    assert config.load({}, is_root=True, system=system).home == Path("/var/lib/syncvault")


def test_a_person_keeps_data_under_xdg_data_home(system: Path, person: dict[str, str], tmp_path: Path) -> None:
    assert config.load(person, is_root=False, system=system).home == tmp_path / "data" / "syncvault"


def test_a_person_without_xdg_variables_keeps_data_under_home(system: Path, tmp_path: Path) -> None:
    assert config.default_home({"HOME": str(tmp_path)}, is_root=False) == tmp_path / ".local/share/syncvault"


def test_nobodys_home_has_to_be_named() -> None:
    with pytest.raises(UsageError, match="No data directory"):
        config.default_home({}, is_root=False)


def test_drop_ins_win_over_the_main_file_in_the_order_of_their_names(system: Path) -> None:
    (system / "config.toml").write_text("mailboxes = 1\ntenants = 2")
    (system / "conf.d" / "20-late.toml").write_text("mailboxes = 3")
    (system / "conf.d" / "10-early.toml").write_text("mailboxes = 9")
    settings = config.load({}, is_root=True, system=system)
    assert (settings.mailboxes, settings.tenants) == (3, 2)


def test_a_persons_file_wins_over_the_systems(system: Path, person: dict[str, str], tmp_path: Path) -> None:
    (system / "config.toml").write_text("mailboxes = 1\ntenants = 2")
    (tmp_path / "xdg/syncvault/config.toml").write_text("mailboxes = 8")
    settings = config.load(person, is_root=False, system=system)
    assert (settings.mailboxes, settings.tenants) == (8, 2)


def test_root_does_not_read_a_persons_file(system: Path, person: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "xdg/syncvault/config.toml").write_text("mailboxes = 8")
    assert config.load(person, is_root=True, system=system).mailboxes == 4


def test_a_file_that_is_named_is_read_instead_of_all_others(system: Path, tmp_path: Path) -> None:
    (system / "config.toml").write_text("mailboxes = 1\ntenants = 2")
    named = tmp_path / "own.toml"
    named.write_text("mailboxes = 5")
    by_option = config.load({"SYNCVAULT_CONFIG": "/nowhere"}, is_root=True, config=named, system=system)
    by_variable = config.load({"SYNCVAULT_CONFIG": str(named)}, is_root=True, system=system)
    assert by_option == by_variable
    assert (by_option.mailboxes, by_option.tenants) == (5, 4)


def test_the_variable_for_the_data_directory_wins_over_files(system: Path) -> None:
    (system / "config.toml").write_text('home = "/srv/one"')
    assert config.load({"SYNCVAULT_HOME": "/srv/two"}, is_root=True, system=system).home == Path("/srv/two")


def test_paths_in_a_file_are_relative_to_it(system: Path) -> None:
    (system / "config.toml").write_text('passphrase_file = "secret/pass"\nhome = "/srv/one"')
    settings = config.load({}, is_root=True, system=system)
    assert settings.passphrase_file == system / "secret" / "pass"
    assert settings.home == Path("/srv/one")


def test_a_dash_stays_standard_input(system: Path) -> None:
    (system / "config.toml").write_text('passphrase_file = "-"')
    assert config.load({}, is_root=True, system=system).passphrase_file == config.STDIN


@pytest.mark.parametrize(
    ("content", "said", "advised"),
    [
        ("mailboxs = 4", "unknown key: 'mailboxs'", "Did you mean mailboxes?"),
        ("qwertzuiop = 4", "unknown key", "Known are: backup.keep_days, database"),
        ("mailboxes = 0", "unusable value for mailboxes", "from 1 to 64"),
        ("mailboxes = 65", "unusable value for mailboxes", "from 1 to 64"),
        ("[backup]\nkeep_days = 3661", "unusable value for backup.keep_days", "from 1 to 3660"),
        ("mailboxes = true", "unusable value for mailboxes", "from 1 to 64"),
        ('tenants = "4"', "unusable value for tenants", "from 1 to 64"),
        ("home = 4", "unusable value for home", "text in quotes"),
        ("home =", "is not TOML", "Write lines like"),
    ],
)
def test_a_mistake_is_named_with_what_to_write_instead(system: Path, content: str, said: str, advised: str) -> None:
    (system / "config.toml").write_text(content)
    with pytest.raises(UsageError) as caught:
        config.load({}, is_root=True, system=system)
    assert said in caught.value.message
    assert advised in caught.value.advice


def test_a_named_file_that_is_missing_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        config.load({}, is_root=True, config=tmp_path / "none.toml")


def test_a_file_that_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        config.load({}, is_root=True, config=tmp_path)
