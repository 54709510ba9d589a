"""Root keys in a systemd credential, encrypted to this machine (its TPM, or systemd's host key).

A unit reads one credential, `syncvault-root`, so that one holds all living generations: re-keying adds generation
n+1 beside n, destroying writes it again without n. Making and changing it needs root (systemd.exec(5), "Credentials";
systemd-creds(1)).
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

from syncvault.errors import RootKeyError
from syncvault.hygiene import without_secrets
from syncvault.roots import keyfiles
from syncvault.roots.generations import from_text, to_text
from syncvault.roots.port import (
    ROOT_KEY_BYTES,
    Destroyed,
    Destruction,
    Handle,
    Pending,
    PrivilegedStepNeededError,
    ProviderSettings,
    RootKeyProvider,
    handle_number,
    handle_text,
    require_generation,
    require_provider,
)

CREDENTIAL = "syncvault-root"
DEFAULT_FILE = Path("/etc/credstore.encrypted") / CREDENTIAL
_NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM}
_SECONDS = 60  # a TPM takes a few at most

_Keys = dict[int, bytes]


class SystemdProvider(RootKeyProvider):
    """Reads the credential inside a unit; makes, reads and changes its file as root at a shell."""

    name = "systemd"

    def __init__(self, settings: ProviderSettings) -> None:
        self._vault = str(settings.vault_id)
        self._named = settings.root_key_file.expanduser().absolute() if settings.root_key_file else None
        self._environment = dict(settings.environment)
        # A secret of the caller's own, in place of the machine's, lets anybody encrypt to it (systemd-creds(1)). A unit
        # keeps to the credential that it was given: what it wrote to the file it could not read back.
        may_encrypt = os.geteuid() == 0 or "SYSTEMD_CREDENTIAL_SECRET" in self._environment
        self._privileged = may_encrypt and self._unit_credential() is None

    def create(self, generation: int) -> Handle:
        """Adds a generation to the credential's file and reads it back; takes over one that is in it."""
        require_generation(generation)
        file = self._named or DEFAULT_FILE
        self._require_privileges(f"root key generation {generation} has to be added to {file}")
        keys = self._decrypt(file) if os.path.lexists(file) else {}
        if generation not in keys:
            self._encrypt(file, {**keys, generation: os.urandom(ROOT_KEY_BYTES)})
            if generation not in self._decrypt(file):
                raise RootKeyError(
                    f"The credential {file} did not keep what was written to it.",
                    advice="Look for what else writes this file.",
                )
        return {"provider": self.name, "generation": generation, "file": str(file)}

    def unwrap(self, handle: Handle) -> bytes:
        """Takes the generation from the unit's credential, or as root from the file."""
        file, generation = self._located(handle)
        unit = self._unit_credential()
        if unit is not None:
            key = self._parse(self._read(unit), unit).get(generation)
            if key is None:
                raise RootKeyError(
                    f"The unit's credential does not hold root key generation {generation}.",
                    advice="Restart the unit: it still has the credential as it was when it started.",
                )
            return key
        if not self._privileged:
            raise self._out_of_reach(file)
        if not os.path.lexists(file):
            raise RootKeyError(
                f"The credential {file} is missing.", advice="Bring the file back, or name it with --root-key-file."
            )
        key = self._decrypt(file).get(generation)
        if key is None:
            raise RootKeyError(
                f"The credential {file} does not hold root key generation {generation}.",
                advice="Bring back the credential as syncvault last wrote it.",
            )
        return key

    def destroy(self, handle: Handle) -> Destruction:
        """Writes the credential again without the generation, overwriting the file that held it."""
        file, generation = self._located(handle)
        if not self._privileged:
            return Pending(f"root has taken generation {generation} out of {file} (run syncvault as root)")
        if not os.path.lexists(file):
            keyfiles.scrub_leftovers(file)
            return Destroyed()
        keys = self._decrypt(file)
        if keys.pop(generation, None) is None:
            keyfiles.scrub_leftovers(file)
        elif keys:
            self._encrypt(file, keys)
        else:
            keyfiles.scrub(file)
        return Destroyed()

    def why_unusable(self) -> str | None:
        """Outside a unit it needs systemd-creds and root."""
        if self._unit_credential() is not None:
            return None
        if self._program() is None:
            return "systemd-creds is not installed (systemd 250 or newer)."
        if not self._privileged:
            return "Only root can make a credential: run syncvault as root, or in the unit that loads it."
        return None

    def describe(self) -> str:
        """What a credential is worth."""
        return (
            "Protects copies of the disk's files where the machine has a TPM, and backups that leave out "
            "/var/lib/systemd otherwise; other users and services cannot read it. Does not protect against root on "
            "this machine."
        )

    def _located(self, handle: Handle) -> tuple[Path, int]:
        require_provider(handle, self.name)
        file = self._named or Path(handle_text(handle, "file"))
        if not file.is_absolute():  # a handle comes from a database: it must not pass for an option or a pipe
            raise RootKeyError(
                "The key store's note on where the credential lies is malformed: no absolute path.",
                advice="Restore the key store from its backup.",
            )
        return file, handle_number(handle, "generation")

    def _unit_credential(self) -> Path | None:
        directory = self._environment.get("CREDENTIALS_DIRECTORY")
        path = Path(directory) / CREDENTIAL if directory else None
        return path if path is not None and path.is_file() else None

    def _program(self) -> str | None:
        return shutil.which("systemd-creds", path=self._environment.get("PATH"))

    def _require_privileges(self, step: str) -> None:
        if not self._privileged:
            raise PrivilegedStepNeededError(
                f"Only root can write the credential: {step}.", advice="Run the same command as root."
            )

    @staticmethod
    def _out_of_reach(file: Path) -> RootKeyError:
        return RootKeyError(
            f"The root key is in the systemd credential {file}, which only root and syncvault's units can read.",
            advice=f"Run as root, or: systemd-run --pty -p LoadCredentialEncrypted={CREDENTIAL}:{file} syncvault …",
        )

    def _encrypt(self, file: Path, keys: _Keys) -> None:
        sealed = self._run(["encrypt", f"--name={CREDENTIAL}", "-", "-"], to_text(self._vault, keys), file)
        try:
            keyfiles.replace(file, sealed)
        except RootKeyError as error:
            if getattr(error.__cause__, "errno", None) not in _NOT_WRITABLE:
                raise
            raise PrivilegedStepNeededError(
                error.message, advice=f"Run as root outside a unit, where {file.parent} can be written."
            ) from error

    def _decrypt(self, file: Path) -> _Keys:
        return self._parse(self._run(["decrypt", f"--name={CREDENTIAL}", str(file), "-"], b"", file), file)

    def _run(self, arguments: list[str], given: bytes, file: Path) -> bytes:
        program = self._program()
        if program is None:
            raise RootKeyError("systemd-creds is not installed.", advice="Install systemd 250 or newer.")
        try:
            done = subprocess.run(  # noqa: S603  (fixed arguments and an absolute path; secrets go through pipes)
                [program, *arguments],
                input=given,
                capture_output=True,
                env=without_secrets(self._environment),
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            # Neither is chained: what the program printed so far could be the key.
            raise RootKeyError(
                f"systemd-creds could not be run, or did not {arguments[0]} {file} within {_SECONDS} s.",
                advice="Check systemd and, where there is one, the TPM; then run the command again.",
            ) from None
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise RootKeyError(
                f"systemd-creds cannot {arguments[0]} {file}: {said or done.returncode}",
                advice="A credential opens only on the machine (and TPM) it was made on, and under its own name.",
            )
        return done.stdout

    @staticmethod
    def _read(unit: Path) -> bytes:
        # No check of the mode: systemd itself grants access by an access list, which shows as group bits.
        try:
            return unit.read_bytes()
        except OSError as error:
            raise RootKeyError(
                f"The unit's credential {unit} cannot be read: {error.strerror}.",
                advice="Check the unit's user and its LoadCredential settings.",
            ) from error

    def _parse(self, content: bytes, where: Path) -> _Keys:
        return from_text(content, self._vault, str(where))
