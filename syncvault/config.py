"""Settings: files in /etc and in the home of a person, an unknown key refused with the nearest one named.

Read in this order, later ones win: `/etc/syncvault/config.toml`, `/etc/syncvault/conf.d/*.toml` by name, and for
anybody but root `$XDG_CONFIG_HOME/syncvault/config.toml`. A file named by `--config` or `SYNCVAULT_CONFIG` is read
instead of all of them. `SYNCVAULT_HOME` and options on the command line win over every file.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from syncvault.errors import InputError, UsageError

SYSTEM_CONFIG: Final = Path("/etc/syncvault")
_SYSTEM_HOME: Final = Path("/var/lib/syncvault")
STDIN: Final = Path("-")
MOST_WORKERS: Final = 64


@dataclass(frozen=True, slots=True)
class Settings:
    """What the settings files say, defaults filled in.

    Attributes:
        home: The data directory.
        passphrase_file: Where the passphrase lies; `-` is standard input.
        root_key_file: What `init` takes for `--root-key-file`.
        root_key_options: What `init` takes for `--root-key-option`, by name.
        backup_keep_days: How long a data backup is kept; a retired key is destroyed that long after its last row.
        database: What `init` takes for `--database`.
        key_database: What `init` takes for `--key-database`.
        mailboxes: How many mailboxes of a tenant are pulled side by side; online, how many lots of them.
        tenants: How many tenants are pulled side by side.
    """

    home: Path
    passphrase_file: Path | None = None
    root_key_file: Path | None = None
    root_key_options: Mapping[str, str] = field(default_factory=dict)
    backup_keep_days: int = 35
    database: str = field(default="", repr=False)
    key_database: str = field(default="", repr=False)
    mailboxes: int = 4
    tenants: int = 4


MOST_DAYS: Final = 3660

_PATHS: Final = frozenset({"home", "passphrase_file", "root_key_file"})
_COUNTS: Final = {"mailboxes": MOST_WORKERS, "tenants": MOST_WORKERS, "backup.keep_days": MOST_DAYS}
_TEXTS: Final = frozenset({"database", "key_database"})
_OPTIONS: Final = "root_key_options"  # a table whose keys each provider knows for itself
KEYS: Final = (*sorted(_PATHS | _COUNTS.keys() | _TEXTS), _OPTIONS)


def load(
    environment: Mapping[str, str],
    *,
    is_root: bool,
    config: Path | None = None,
    system: Path = SYSTEM_CONFIG,
) -> Settings:
    """The settings that hold for this process.

    Args:
        environment: The process's environment.
        is_root: Whether root runs it, for whom the system's directories are the default.
        config: The only file to read, as named on the command line.
        system: Where the system's settings lie.

    Raises:
        UsageError: A file named is missing, is no TOML, or holds an unknown key or an unusable value.
        InputError: A file cannot be read.
    """
    values: dict[str, Any] = {}
    named = config or (Path(environment["SYNCVAULT_CONFIG"]) if environment.get("SYNCVAULT_CONFIG") else None)
    if named is not None:
        if not named.exists():
            raise UsageError("The settings file named does not exist.", advice=f"Look for {named}.")
        values = read_file(named)
    else:
        for path in _places(environment, system, is_root=is_root):
            values |= read_file(path)
    if environment.get("SYNCVAULT_HOME"):
        values["home"] = Path(environment["SYNCVAULT_HOME"])
    home = values.pop("home", None) or default_home(environment, is_root=is_root)
    return replace(Settings(home.absolute()), **values)


def default_home(environment: Mapping[str, str], *, is_root: bool) -> Path:
    """The data directory when nobody names one."""
    if is_root:
        return _SYSTEM_HOME
    base = environment.get("XDG_DATA_HOME", "")
    if Path(base).is_absolute():
        return Path(base) / "syncvault"
    if not environment.get("HOME"):
        raise UsageError("No data directory is named.", advice="Name one with --home /var/lib/syncvault.")
    return Path(environment["HOME"]) / ".local" / "share" / "syncvault"


def _places(environment: Mapping[str, str], system: Path, *, is_root: bool) -> list[Path]:
    places = [system / "config.toml", *sorted((system / "conf.d").glob("*.toml"))]
    if not is_root:
        base = environment.get("XDG_CONFIG_HOME", "")
        if Path(base).is_absolute():
            places.append(Path(base) / "syncvault" / "config.toml")
        elif environment.get("HOME"):
            places.append(Path(environment["HOME"]) / ".config" / "syncvault" / "config.toml")
    return [path for path in places if path.exists()]


def read_file(path: Path) -> dict[str, Any]:
    """One settings file, every key and value checked; paths in it are relative to it.

    Raises:
        UsageError: It is no TOML, or holds an unknown key or an unusable value.
        InputError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            raw = tomllib.load(file)
    except OSError as error:
        raise InputError(f"The settings file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(
            f"The settings file {path} is not TOML: {error}.", advice='Write lines like: home = "/srv"'
        ) from error
    values = {key: _checked(path, key, value) for key, value in _flat(raw)}
    return {key.replace(".", "_"): value for key, value in values.items()}


def _flat(raw: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """The settings of tables under dotted names."""
    for key, value in raw.items():
        if isinstance(value, dict) and key != _OPTIONS:
            yield from ((f"{key}.{name}", each) for name, each in value.items())
        else:
            yield key, value


def _checked(path: Path, key: str, value: object) -> Path | int | str | Mapping[str, str]:
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, n=1)
        advice = f"Did you mean {near[0]}?" if near else f"Known are: {', '.join(KEYS)}."
        raise UsageError(f"The settings file {path} holds an unknown key: {key!r}.", advice=advice)
    if key in _COUNTS:
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _COUNTS[key]:
            return value
        raise _unusable(path, key, f"a number from 1 to {_COUNTS[key]}, such as 4")
    if key == _OPTIONS:
        if isinstance(value, dict) and all(isinstance(each, str) for each in value.values()):
            return value
        raise _unusable(path, key, 'a table of texts, such as key = "syncvault"')
    if not isinstance(value, str) or not value:
        raise _unusable(path, key, "a text in quotes")
    if key in _TEXTS:
        return value
    return STDIN if value == "-" else path.parent.absolute() / Path(value).expanduser()


def _unusable(path: Path, key: str, wanted: str) -> UsageError:
    return UsageError(f"The settings file {path} has an unusable value for {key}.", advice=f"Give {wanted}.")
