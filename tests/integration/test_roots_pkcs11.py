"""The PKCS#11 provider against SoftHSM: real tokens, one made for each test; only a PIN about to lock is faked."""

from __future__ import annotations

import base64
import fcntl
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any
from uuid import uuid4

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, ObjectClass, TokenFlag

from syncvault.errors import Exit, RootKeyError
from syncvault.roots import pkcs11_token, wrapping
from syncvault.roots.pkcs11 import Pkcs11Provider
from syncvault.roots.port import Destroyed, Handle, NotPossible, ProviderSettings
from tests.integration.wrapped_handles import assert_only_the_whole_wrapped_key_opens, assert_refused
from tests.parts import softhsm_module, softhsm_token

pytestmark = pytest.mark.slow  # against a server or a token of its own

LABEL = "phone books"
PIN = "right-pin-42"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProviderSettings:
    monkeypatch.setenv("SOFTHSM2_CONF", str(softhsm_token(tmp_path, LABEL, PIN)))
    monkeypatch.delenv("PKCS11_MODULE", raising=False)
    return ProviderSettings(
        vault_id=uuid4(),
        root_key_file=pin_file(tmp_path / "pin", PIN),
        options={"module": str(softhsm_module()), "token": LABEL},
    )


@pytest.fixture(params=["aes-gcm", "aes-kw"])
def either(request: pytest.FixtureRequest, settings: ProviderSettings) -> ProviderSettings:
    return with_options(settings, mechanism=request.param)


def with_options(settings: ProviderSettings, **options: str) -> ProviderSettings:
    return replace(settings, options={**settings.options, **options})


def pin_file(path: Path, content: str) -> Path:
    path.write_text(content)
    path.chmod(0o600)
    return path


@contextmanager
def session(settings: ProviderSettings, *, rw: bool = False) -> Iterator[Any]:
    """A session of the test's own, past the provider."""
    library = pkcs11.lib(settings.options["module"])
    try:
        with library.get_token(token_label=settings.options["token"]).open(rw=rw, user_pin=PIN) as opened:
            yield opened
    finally:
        library.finalize()


def labels(settings: ProviderSettings) -> list[str]:
    with session(settings) as opened:
        return sorted(key[Attribute.LABEL] for key in opened.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY}))


def refusal(settings: ProviderSettings, handle: Handle | None = None) -> RootKeyError:
    with pytest.raises(RootKeyError) as caught:
        Pkcs11Provider(settings).create(1) if handle is None else Pkcs11Provider(settings).unwrap(handle)
    assert PIN not in caught.value.message + caught.value.advice
    assert caught.value.__cause__ is None
    assert caught.value.exit_code == Exit.ROOT_KEY
    return caught.value


# What it makes


def test_each_generation_has_a_key_on_the_token_that_cannot_leave_it(either: ProviderSettings) -> None:
    provider = Pkcs11Provider(either)
    provider.create(1)
    provider.create(2)
    assert labels(either) == [f"syncvault-{either.vault_id}-{n}" for n in (1, 2)]
    with session(either) as opened:
        for key in opened.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY}):
            assert key.key_length == 256
            assert key[Attribute.SENSITIVE]
            assert key[Attribute.NEVER_EXTRACTABLE]
            assert key[Attribute.PRIVATE]
            able = [key[flag] for flag in (Attribute.ENCRYPT, Attribute.DECRYPT, Attribute.WRAP, Attribute.UNWRAP)]
            gcm = either.options["mechanism"] == "aes-gcm"
            assert able == ([True, True, False, False] if gcm else [False, False, True, True])


def test_a_handle_opens_after_json_in_a_fresh_provider(either: ProviderSettings) -> None:
    handle = json.loads(json.dumps(Pkcs11Provider(either).create(1)))
    assert len(Pkcs11Provider(either).unwrap(handle)) == 32
    assert set(handle) - {"check"} == {"provider", "generation", "key", "serial", "mechanism", "wrapped"}


def test_what_a_handle_was_wrapped_with_counts_and_not_today_s_option(settings: ProviderSettings) -> None:
    handle = Pkcs11Provider(settings).create(1)
    assert Pkcs11Provider(with_options(settings, mechanism="aes-kw")).unwrap(handle)


def test_the_token_alone_opens_what_it_wrapped(settings: ProviderSettings) -> None:
    provider = Pkcs11Provider(settings)
    handle = provider.create(1)
    blob = base64.b64decode(str(handle["wrapped"]))
    with session(settings) as opened:
        parameters = pkcs11.GCMParams(blob[:12], f"{settings.vault_id}/1".encode(), 128)
        key = opened.get_key(label=str(handle["key"])).decrypt(
            blob[12:], mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=parameters
        )
    assert key == provider.unwrap(handle)


def test_creating_again_takes_over_the_token_s_key_and_both_handles_open(either: ProviderSettings) -> None:
    provider = Pkcs11Provider(either)
    first = provider.create(1)
    key = provider.unwrap(first)
    second = provider.create(1)
    assert len(labels(either)) == 1
    assert provider.unwrap(first) == key
    assert len(provider.unwrap(second)) == 32


def test_a_planted_key_that_can_leave_the_token_is_not_taken_over(settings: ProviderSettings) -> None:
    with session(settings, rw=True) as opened:
        template = {Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False}
        opened.generate_key(KeyType.AES, 256, label=f"syncvault-{settings.vault_id}-1", store=True, template=template)
    assert "can leave it" in refusal(settings).message


def test_two_keys_with_one_label_are_refused_and_both_destroyed(settings: ProviderSettings) -> None:
    provider = Pkcs11Provider(settings)
    handle = provider.create(1)
    with session(settings, rw=True) as opened:
        opened.generate_key(KeyType.AES, 256, label=str(handle["key"]), store=True)
    assert "several keys" in refusal(settings, handle).message
    assert "several keys" in refusal(settings).message
    assert provider.destroy(handle) == Destroyed()
    assert labels(settings) == []


# What it refuses


def test_every_flipped_byte_and_every_cut_of_the_wrapped_key_is_refused(either: ProviderSettings) -> None:
    assert_only_the_whole_wrapped_key_opens(Pkcs11Provider(either), cut_every=4)


@pytest.mark.parametrize(
    "damage",
    [
        {"wrapped": "not base64!"},
        {"wrapped": ""},
        {"wrapped": 7},
        {"mechanism": "rot13"},
        {"mechanism": ""},
        {"key": "another"},
        {"generation": 2},
        {"generation": 10**40},
    ],
)
def test_a_handle_that_was_changed_is_refused(either: ProviderSettings, damage: dict[str, str | int]) -> None:
    provider = Pkcs11Provider(either)
    assert_refused(provider, {**provider.create(1), **damage})


@pytest.mark.parametrize("check", ["AAAA", "é", "", "\ud800", "A" * 999, 7])
def test_a_check_that_does_not_fit_is_refused(settings: ProviderSettings, check: str | int) -> None:
    provider = Pkcs11Provider(with_options(settings, mechanism="aes-kw"))
    handle = provider.create(1)
    with pytest.raises(RootKeyError, match=r"damaged|malformed"):
        provider.unwrap({**handle, "check": check})


def test_a_handle_of_the_other_mechanism_does_not_open(settings: ProviderSettings) -> None:
    handle = Pkcs11Provider(settings).create(1)
    blob = base64.b64encode(bytes(40)).decode()
    changed = {**handle, "mechanism": "aes-kw", "wrapped": blob, "check": "x"}
    assert "damaged" in refusal(settings, changed).message
    assert "not for aes-kw" in refusal(with_options(settings, mechanism="aes-kw")).message


def test_another_vault_s_handle_does_not_open_even_with_its_key_s_name_changed(either: ProviderSettings) -> None:
    theirs = replace(either, vault_id=uuid4())
    handle = Pkcs11Provider(theirs).create(1)
    Pkcs11Provider(either).create(1)
    assert "another vault" in refusal(either, handle).message
    assert "another vault" in refusal(either, {**handle, "key": f"syncvault-{either.vault_id}-1"}).message


def test_a_wrapped_key_is_bound_to_its_vault_beyond_the_key_that_wraps_it(either: ProviderSettings) -> None:
    """The same key on the token under another vault's label: only associated data or check tell the two apart."""
    handle = Pkcs11Provider(either).create(1)
    other = replace(either, vault_id=uuid4())
    with session(either, rw=True) as opened:
        opened.get_key(label=str(handle["key"])).copy({Attribute.LABEL: f"syncvault-{other.vault_id}-1"})
    assert "another vault" in refusal(other, {**handle, "key": f"syncvault-{other.vault_id}-1"}).message


# Destroying


@pytest.mark.parametrize("serial", ["", "\x1b[2J", "\ud800", "x" * 999, 7])
def test_what_a_terminal_must_not_show_is_no_serial_number(settings: ProviderSettings, serial: str | int) -> None:
    provider = Pkcs11Provider(settings)
    handle = provider.create(1)
    with pytest.raises(RootKeyError, match=r"damaged|malformed"):
        provider.destroy({**handle, "serial": serial})
    assert provider.unwrap(handle)


def test_destroying_removes_the_key_from_the_token_and_nothing_else(either: ProviderSettings) -> None:
    provider = Pkcs11Provider(either)
    first, second = provider.create(1), provider.create(2)
    assert provider.destroy(first) == Destroyed()
    assert labels(either) == [second["key"]]
    assert "does not hold the key" in refusal(either, first).message
    assert provider.destroy(first) == Destroyed()
    assert provider.unwrap(second)


def test_a_key_missing_on_another_token_does_not_count_as_destroyed(
    settings: ProviderSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = Pkcs11Provider(settings).create(1)
    here = os.environ["SOFTHSM2_CONF"]
    monkeypatch.setenv("SOFTHSM2_CONF", str(softhsm_token(tmp_path / "another", LABEL, PIN)))
    outcome = Pkcs11Provider(settings).destroy(handle)
    assert isinstance(outcome, NotPossible)
    assert str(handle["serial"]) in outcome.why
    assert str(handle["serial"]) in refusal(settings, handle).message
    monkeypatch.setenv("SOFTHSM2_CONF", here)
    assert Pkcs11Provider(settings).unwrap(handle)


def test_a_key_that_the_token_holds_fast_is_not_called_destroyed(settings: ProviderSettings) -> None:
    provider = Pkcs11Provider(settings)
    handle = provider.create(1)
    with session(settings, rw=True) as opened:
        template = {Attribute.LABEL: handle["key"], Attribute.DESTROYABLE: False}
        opened.get_key(label=str(handle["key"])).copy(template)
    outcome = provider.destroy(handle)
    assert isinstance(outcome, NotPossible)
    assert "does not let" in outcome.why


# PINs


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The PINs that were looked up for a login."""
    read = pkcs11_token.TokenAccess._allowed_pin
    tried: list[str] = []

    def counted(self: pkcs11_token.TokenAccess, token: Any) -> tuple[str, bytes]:
        allowed = read(self, token)
        tried.append(allowed[0])
        return allowed

    monkeypatch.setattr(pkcs11_token.TokenAccess, "_allowed_pin", counted)
    return tried


def test_a_refused_pin_is_tried_once_and_the_right_one_afterwards(
    settings: ProviderSettings, tries: list[str], tmp_path: Path
) -> None:
    handle = Pkcs11Provider(settings).create(1)
    tries.clear()
    wrong = replace(settings, root_key_file=pin_file(tmp_path / "wrong", "wrong-pin-1"))
    for _ in range(3):
        error = refusal(wrong, handle)
        assert "refuses the PIN" in error.message
        assert "wrong-pin-1" not in error.message + error.advice
    assert tries == ["wrong-pin-1"]
    assert Pkcs11Provider(settings).unwrap(handle)


@pytest.mark.parametrize(
    ("flag", "sentence"), [(TokenFlag.USER_PIN_FINAL_TRY, "would lock"), (TokenFlag.USER_PIN_LOCKED, "is locked")]
)
def test_no_login_is_tried_where_it_could_lock_the_token(
    settings: ProviderSettings, monkeypatch: pytest.MonkeyPatch, flag: TokenFlag, sentence: str
) -> None:
    """SoftHSM never locks a PIN, so the token here is a fake that only shows the flag and would record a login."""

    class AlmostLocked:
        flags = TokenFlag.TOKEN_INITIALIZED | flag
        serial = b"1"

        def open(self, **_: object) -> None:
            raise AssertionError("a login was tried")

    monkeypatch.setattr(pkcs11_token.TokenAccess, "_find_token", lambda *_: AlmostLocked())
    assert sentence in refusal(settings).message


@pytest.mark.parametrize("content", ["", "\n", "two\nlines", "nul\0"])
def test_a_file_without_a_pin_is_refused_before_any_login(settings: ProviderSettings, content: str) -> None:
    assert settings.root_key_file is not None
    pin_file(settings.root_key_file, content)
    assert "holds no PIN" in refusal(settings).message


def test_a_pin_file_that_others_can_read_is_refused(settings: ProviderSettings) -> None:
    assert settings.root_key_file is not None
    settings.root_key_file.chmod(0o644)
    assert "Other users can reach" in refusal(settings).message


def test_a_line_end_after_the_pin_does_not_count(settings: ProviderSettings) -> None:
    assert settings.root_key_file is not None
    pin_file(settings.root_key_file, PIN + "\n")
    assert Pkcs11Provider(settings).create(1)


def test_in_a_unit_the_pin_comes_from_the_credential(settings: ProviderSettings, tmp_path: Path) -> None:
    in_unit = replace(settings, root_key_file=None, environment={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert "syncvault-pkcs11-pin" in refusal(in_unit).message
    (tmp_path / "syncvault-pkcs11-pin").write_text(PIN)
    assert Pkcs11Provider(in_unit).create(1)


# What may be missing


def test_a_missing_library_says_how_to_install_it(settings: ProviderSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapping, "find_spec", lambda _: None)
    assert "pip install 'syncvault[pkcs11]'" in (Pkcs11Provider(settings).why_unusable() or "")
    assert "pip install 'syncvault[pkcs11]'" in refusal(settings).message


def test_it_says_in_turn_what_it_was_not_told(settings: ProviderSettings, tmp_path: Path) -> None:
    def why(**changes: Any) -> str:
        return Pkcs11Provider(replace(settings, **changes)).why_unusable() or ""

    assert Pkcs11Provider(settings).why_unusable() is None
    assert "No PKCS#11 module is named" in why(options={"token": LABEL})
    assert why(options={"token": LABEL}, environment={"PKCS11_MODULE": str(softhsm_module())}) == ""
    assert "is missing" in why(options={**settings.options, "module": str(tmp_path / "none.so")})
    assert "is not a file" in why(options={**settings.options, "module": str(tmp_path)})
    assert "absolute" in why(options={**settings.options, "module": "libsofthsm2.so"})
    assert "No token is named" in why(options={"module": str(softhsm_module())})
    assert "aes-gcm or aes-kw" in why(options={**settings.options, "mechanism": "des"})
    assert "No file holds the token's PIN" in why(root_key_file=None)


def test_a_module_that_others_can_change_is_not_loaded(settings: ProviderSettings, tmp_path: Path) -> None:
    module = tmp_path / "module.so"
    module.write_bytes(softhsm_module().read_bytes())
    module.chmod(0o666)
    assert "Other users can change" in refusal(with_options(settings, module=str(module))).message
    module.chmod(0o644)
    assert Pkcs11Provider(with_options(settings, module=str(module))).why_unusable() is None
    tmp_path.chmod(0o777)
    assert "Other users can change" in refusal(with_options(settings, module=str(module))).message


def test_a_file_that_is_no_module_is_refused(settings: ProviderSettings) -> None:
    assert "failed" in refusal(with_options(settings, module=str(Path("/bin/true").resolve()))).message


def test_a_token_that_is_not_there_is_named(settings: ProviderSettings) -> None:
    assert "no token with the label nobody" in refusal(with_options(settings, token="nobody")).message


def test_two_tokens_with_one_label_are_told_apart_by_nobody(settings: ProviderSettings, tmp_path: Path) -> None:
    softhsm_token(tmp_path, LABEL, PIN)
    assert "Several tokens" in refusal(settings).message


def test_a_token_without_the_mechanism_is_said_so(settings: ProviderSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(os.environ["SOFTHSM2_CONF"])
    path.write_text(path.read_text() + "slots.mechanisms = CKM_AES_KEY_GEN,CKM_AES_KEY_WRAP\n")
    error = refusal(settings)
    assert "cannot do aes-gcm" in error.message
    assert "mechanism=aes-kw" in error.advice


def test_a_token_that_appears_later_is_seen(settings: ProviderSettings, tmp_path: Path) -> None:
    later = with_options(settings, token="later")
    assert "no token" in refusal(later).message
    softhsm_token(tmp_path, "later", PIN)
    assert Pkcs11Provider(later).create(1)


def test_it_remembers_where_the_token_is_and_no_secret(settings: ProviderSettings) -> None:
    remembered = Pkcs11Provider(settings).remembers
    assert remembered == {"module": str(softhsm_module()), "token": LABEL, "mechanism": "aes-gcm"}
    again = replace(settings, options=remembered)
    assert Pkcs11Provider(again).unwrap(Pkcs11Provider(settings).create(1))


# Threads, forks, hangs


def test_threads_share_the_token(settings: ProviderSettings) -> None:
    provider = Pkcs11Provider(settings)
    handles = [provider.create(n) for n in (1, 2)]
    keys = [provider.unwrap(handle) for handle in handles]
    barrier = threading.Barrier(4)

    def often(at: int) -> bool:
        barrier.wait()
        return all(Pkcs11Provider(settings).unwrap(handles[at % 2]) == keys[at % 2] for _ in range(10))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(often, range(4)))


def test_a_forked_child_opens_it_too_and_the_parent_goes_on(settings: ProviderSettings) -> None:
    provider = Pkcs11Provider(settings)
    handle = provider.create(1)
    key = provider.unwrap(handle)
    child = os.fork()
    if child == 0:
        os._exit(0 if provider.unwrap(handle) == key else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert provider.unwrap(handle) == key


def test_a_child_forked_in_the_middle_of_an_operation_is_not_held_up(settings: ProviderSettings) -> None:
    provider = Pkcs11Provider(settings)
    handle = provider.create(1)
    with pkcs11_token._modules.lock, pkcs11_token._modules.initialised(str(softhsm_module().resolve())):
        child = os.fork()
        if child == 0:
            os._exit(0 if len(provider.unwrap(handle)) == 32 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _hold(directory: str, held: Event, release: Event) -> None:
    files = [path.open("r+b") for path in Path(directory).rglob("*") if path.is_file()]
    for file in files:
        fcntl.lockf(file, fcntl.LOCK_EX)
    held.set()
    release.wait(60)


@contextmanager
def stuck(settings_path: Path) -> Iterator[None]:
    """Another process holds the locks of SoftHSM's files, for which SoftHSM waits without end."""
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(str(settings_path.parent / "tokens"), held, release))
    process.start()
    try:
        assert held.wait(30)
        yield
    finally:
        release.set()
        process.join(10)


@pytest.mark.slow
def test_a_token_that_hangs_is_given_up_on_and_works_again_afterwards(settings: ProviderSettings) -> None:
    handle = Pkcs11Provider(settings).create(1)
    impatient = Pkcs11Provider(settings, patience=0.3)
    with stuck(Path(os.environ["SOFTHSM2_CONF"])):
        for _ in range(2):  # the second waits for the first, which still hangs
            begun = time.monotonic()
            with pytest.raises(RootKeyError, match="did not answer"):
                impatient.unwrap(handle)
            assert time.monotonic() - begun < 3
    assert Pkcs11Provider(settings).unwrap(handle)


@pytest.mark.slow
def test_a_process_ends_while_its_token_hangs(settings: ProviderSettings) -> None:
    handle = Pkcs11Provider(settings).create(1)
    script = """
import json, sys
from pathlib import Path
from uuid import UUID
from syncvault.roots.pkcs11 import Pkcs11Provider
from syncvault.roots.port import ProviderSettings
vault, pin, options, handle = json.load(sys.stdin)
settings = ProviderSettings(vault_id=UUID(vault), root_key_file=Path(pin), options=options)
try:
    Pkcs11Provider(settings, patience=0.3).unwrap(handle)
except Exception as error:
    print(error)
"""
    given = [str(settings.vault_id), str(settings.root_key_file), dict(settings.options), dict(handle)]
    with stuck(Path(os.environ["SOFTHSM2_CONF"])):
        done = subprocess.run(
            [sys.executable, "-c", script],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert "did not answer" in done.stdout
    assert done.returncode == 0
