"""The openbao provider against a real OpenBao server over TLS."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import requests
import trustme

from syncvault.errors import Exit, RootKeyError
from syncvault.roots.openbao import OpenBaoProvider
from syncvault.roots.port import Destroyed, NotPossible, Pending, PrivilegedStepNeededError, ProviderSettings
from syncvault.vault import layout, tenants
from syncvault.vault.erasing import erasure
from syncvault.vault.layout import Layout
from tests.conftest import Authority
from tests.integration.openbao_parts import key_of, provider
from tests.integration.vault_parts import Place, register
from tests.parts import OpenBao, openbao_server

pytestmark = pytest.mark.slow  # against a server or a token of its own

ANY_KEY = 'path "transit/keys/+" { capabilities = ["read"] }'
UNWRAPS = 'path "transit/decrypt/*" { capabilities = ["update"] }'
WRAPS = f'{ANY_KEY} {UNWRAPS} path "transit/encrypt/*" {{ capabilities = ["update"] }}'
MAKES = f'{WRAPS} path "transit/keys/+" {{ capabilities = ["read", "update"] }}'
ROTATES = f'{MAKES} path "transit/keys/+/rotate" {{ capabilities = ["update"] }}'
CONFIGURES = f'{ROTATES} path "transit/keys/+/config" {{ capabilities = ["update"] }}'
DESTROYS = f'{CONFIGURES} path "transit/keys/+/trim" {{ capabilities = ["update"] }}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[OpenBao]:
    with openbao_server(tmp_path_factory.mktemp("openbao"), authority.ca) as running:
        yield running


@pytest.fixture
def vault() -> UUID:
    return uuid4()


# -- making and opening -----------------------------------------------------------------------------------------


def test_each_generation_is_wrapped_by_a_version_of_its_own(server: OpenBao, vault: UUID) -> None:
    opened = provider(server, vault)
    handles = [opened.create(generation) for generation in (1, 2, 3)]
    assert [handle["version"] for handle in handles] == [1, 2, 3]
    assert [str(handle["ciphertext"]).split(":")[1] for handle in handles] == ["v1", "v2", "v3"]
    assert server.key(key_of(vault))["latest_version"] == 3
    assert server.key(key_of(vault))["exportable"] is False


def test_the_handle_does_not_say_where_the_token_is_to_be_sent(server: OpenBao, vault: UUID) -> None:
    handle = provider(server, vault).create(1)
    assert set(handle) == {"provider", "generation", "key", "version", "scope", "ciphertext"}
    assert "127.0.0.1" not in json.dumps(dict(handle))


def test_the_server_s_own_client_opens_what_a_handle_holds(server: OpenBao, vault: UUID) -> None:
    opened = provider(server, vault)
    handle = opened.create(2)
    bound = base64.b64encode(f"{vault}/2/own".encode()).decode()
    body = {"ciphertext": handle["ciphertext"], "associated_data": bound}
    answer = server.ask("POST", f"transit/decrypt/{key_of(vault)}", body)
    assert base64.b64decode(answer["data"]["plaintext"]) == opened.unwrap(handle)


def test_an_interrupted_create_breaks_nothing_and_leaves_no_version_in_the_way(server: OpenBao, vault: UUID) -> None:
    opened = provider(server, vault)
    opened.create(1)  # the vault was killed before it had stored the handle
    first = opened.create(1)
    assert first["version"] == 1
    opened.create(2)  # and again
    second = opened.create(2)
    key = opened.unwrap(second)
    assert opened.unwrap(first) != key
    assert opened.destroy(first) == Destroyed()
    assert opened.unwrap(second) == key


@pytest.mark.parametrize("change", [{"generation": 2}, {"scope": "shared"}])
def test_a_handle_opens_only_as_what_it_was_made(server: OpenBao, vault: UUID, change: dict[str, str | int]) -> None:
    opened = provider(server, vault)
    handle = opened.create(1)
    with pytest.raises(RootKeyError, match="another vault or generation"):
        opened.unwrap({**handle, **change})


def test_two_vaults_on_one_server_do_not_open_each_other_s_keys(server: OpenBao, vault: UUID) -> None:
    other = uuid4()
    mine, theirs = provider(server, vault).create(1), provider(server, other).create(1)
    with pytest.raises(RootKeyError, match="another transit key"):
        provider(server, vault).unwrap(theirs)
    with pytest.raises(RootKeyError, match="another vault or generation"):
        provider(server, vault).unwrap({**theirs, "key": mine["key"]})


def test_two_vaults_that_share_a_key_do_not_open_each_other_s_keys(server: OpenBao, vault: UUID) -> None:
    server.ask("POST", "transit/keys/together", {"type": "aes256-gcm96"})
    theirs = provider(server, uuid4(), key="together").create(1)
    with pytest.raises(RootKeyError, match="another vault or generation"):
        provider(server, vault, key="together").unwrap(theirs)


@pytest.mark.parametrize("key", ["../../sys/seal", "a/b", "k?version=1", "", "k" * 300])
def test_a_handle_cannot_name_another_path(server: OpenBao, vault: UUID, key: str) -> None:
    opened = provider(server, vault)
    handle = opened.create(1)
    with pytest.raises(RootKeyError):
        opened.unwrap({**handle, "key": key})


def test_a_namespace_and_a_mount_of_its_own_are_used(server: OpenBao, vault: UUID) -> None:
    server.ask("PUT", "sys/namespaces/team")
    server.ask("POST", "sys/mounts/crypto/transit", {"type": "transit"}, namespace="team")
    opened = provider(server, vault, namespace="team", mount="crypto/transit")
    assert len(opened.unwrap(opened.create(1))) == 32
    with pytest.raises(RootKeyError, match="does not know the namespace nobody"):
        provider(server, vault, namespace="nobody").create(1)
    with pytest.raises(RootKeyError, match="no transit engine at elsewhere/"):
        provider(server, vault, mount="elsewhere").create(1)


# -- destroying -------------------------------------------------------------------------------------------------


def test_a_destroyed_version_is_gone_from_the_server_for_good(server: OpenBao, vault: UUID) -> None:
    opened = provider(server, vault)
    first, second = opened.create(1), opened.create(2)
    kept = opened.unwrap(second)
    assert opened.destroy(first) == Destroyed()
    state = server.key(key_of(vault))
    assert (state["min_available_version"], state["min_decryption_version"]) == (2, 2)
    with pytest.raises(requests.HTTPError):  # an administrator cannot bring it back
        server.ask("POST", f"transit/keys/{key_of(vault)}/config", {"min_decryption_version": 1})
    with pytest.raises(RootKeyError, match="destroyed or taken out of use"):
        opened.unwrap(first)
    assert opened.unwrap(second) == kept
    assert opened.unwrap(opened.create(3))


def test_the_last_generation_can_be_destroyed_as_well(server: OpenBao, vault: UUID) -> None:
    opened = provider(server, vault)
    first, second = opened.create(1), opened.create(2)
    assert [opened.destroy(first), opened.destroy(second)] == [Destroyed(), Destroyed()]
    assert server.key(key_of(vault))["min_available_version"] == 3


def test_the_newest_is_not_destroyed_while_an_older_one_may_be_in_use(server: OpenBao, vault: UUID) -> None:
    opened = provider(server, vault)
    first, second = opened.create(1), opened.create(2)
    key = opened.unwrap(first)
    outcome = opened.destroy(second)
    assert isinstance(outcome, Pending)
    assert "older versions" in outcome.until
    assert opened.unwrap(first) == key


def test_a_changed_handle_does_not_choose_what_is_destroyed(server: OpenBao, vault: UUID) -> None:
    opened = provider(server, vault)
    first, second = opened.create(1), opened.create(2)
    key = opened.unwrap(second)
    changed = {**first, "version": 2, "ciphertext": str(first["ciphertext"]).replace(":v1:", ":v2:")}
    for handle in ({**first, "version": 2}, changed, {**second, "generation": 1}):
        with pytest.raises(RootKeyError):
            opened.destroy(handle)
    assert opened.unwrap(second) == key


def test_a_key_that_an_administrator_deleted_counts_as_destroyed(server: OpenBao, vault: UUID) -> None:
    opened = provider(server, vault)
    handle = opened.create(1)
    server.ask("POST", f"transit/keys/{key_of(vault)}/config", {"deletion_allowed": True})
    server.ask("DELETE", f"transit/keys/{key_of(vault)}")
    with pytest.raises(RootKeyError, match="There is no transit key"):
        opened.unwrap(handle)
    assert opened.destroy(handle) == Destroyed()


def test_a_key_named_by_an_option_is_neither_rotated_nor_trimmed(server: OpenBao, vault: UUID) -> None:
    server.ask("POST", "transit/keys/company", {"type": "aes256-gcm96"})
    opened = provider(server, vault, key="company")
    first, second = opened.create(1), opened.create(2)
    outcome = opened.destroy(first)
    assert isinstance(outcome, NotPossible)
    assert "may serve others too" in outcome.why
    assert server.key("company")["latest_version"] == 1
    assert opened.unwrap(second) != opened.unwrap(first)


def test_a_shared_key_trimmed_by_its_administrator_counts_as_destroyed(server: OpenBao, vault: UUID) -> None:
    server.ask("POST", "transit/keys/department", {"type": "aes256-gcm96"})
    opened = provider(server, vault, key="department")
    handle = opened.create(1)
    server.ask("POST", "transit/keys/department/rotate")
    server.ask("POST", "transit/keys/department/config", {"min_decryption_version": 2, "min_encryption_version": 2})
    assert isinstance(opened.destroy(handle), NotPossible)  # could still be lowered again
    server.ask("POST", "transit/keys/department/trim", {"min_available_version": 2})
    assert opened.destroy(handle) == Destroyed()


def test_a_named_key_that_is_the_vault_s_alone_is_treated_as_its_own(server: OpenBao, vault: UUID) -> None:
    server.ask("POST", "transit/keys/only-ours", {"type": "aes256-gcm96"})
    opened = provider(server, vault, key="only-ours", exclusive="yes")
    first, second = opened.create(1), opened.create(2)
    assert opened.destroy(first) == Destroyed()
    assert opened.unwrap(second)
    assert opened.remembers["exclusive"] == "yes"


def test_declaring_a_key_one_s_own_later_does_not_destroy_what_was_made_while_it_was_shared(
    server: OpenBao, vault: UUID
) -> None:
    server.ask("POST", "transit/keys/later-ours", {"type": "aes256-gcm96"})
    shared = provider(server, vault, key="later-ours")
    first, second = shared.create(1), shared.create(2)  # both by version 1
    own = provider(server, vault, key="later-ours", exclusive="yes")
    assert isinstance(own.destroy(first), NotPossible)
    assert own.unwrap(second)


def test_a_key_that_is_no_longer_one_s_own_is_left_alone(server: OpenBao, vault: UUID) -> None:
    server.ask("POST", "transit/keys/once-ours", {"type": "aes256-gcm96"})
    first = provider(server, vault, key="once-ours", exclusive="yes").create(1)
    assert isinstance(provider(server, vault, key="once-ours").destroy(first), NotPossible)
    assert server.key("once-ours")["min_decryption_version"] == 1


def test_a_named_key_that_is_not_there_is_not_made(server: OpenBao, vault: UUID) -> None:
    opened = provider(server, vault, key="misspelt")
    with pytest.raises(RootKeyError, match="There is no transit key misspelt"):
        opened.create(1)
    assert opened.why_unusable() == "There is no transit key misspelt at transit/."


@pytest.mark.parametrize("kind", ["rsa-2048", "aes128-gcm96", "ed25519"])
def test_a_key_that_cannot_wrap_is_refused(server: OpenBao, vault: UUID, kind: str) -> None:
    server.ask("POST", f"transit/keys/a-{kind}", {"type": kind})
    opened = provider(server, vault, key=f"a-{kind}")
    with pytest.raises(RootKeyError, match="of a type that cannot wrap"):
        opened.create(1)
    assert "of a type" in str(opened.why_unusable())


# -- tokens and policies ----------------------------------------------------------------------------------------


def test_a_policy_that_allows_everything_needed_is_enough(server: OpenBao, vault: UUID) -> None:
    opened = provider(server, vault, server.token(DESTROYS))
    assert opened.why_unusable() is None
    first, second = opened.create(1), opened.create(2)
    assert opened.why_unusable() is None
    assert opened.destroy(first) == Destroyed()
    assert opened.unwrap(second)


def test_a_wrong_token_is_told_apart_from_a_narrow_policy(server: OpenBao, vault: UUID) -> None:
    handle = provider(server, vault).create(1)
    with pytest.raises(RootKeyError, match="wrong, revoked or expired") as wrong:
        provider(server, vault, "s.AAAAAAAAAAAAAAAAAAAAAAAA").unwrap(handle)
    assert "BAO_TOKEN" in wrong.value.advice
    with pytest.raises(RootKeyError, match="policy does not allow update on transit/decrypt") as narrow:
        provider(server, vault, server.token(ANY_KEY)).unwrap(handle)
    assert 'capabilities = ["update"]' in narrow.value.advice


def test_a_revoked_token_opens_nothing_any_more(server: OpenBao, vault: UUID) -> None:
    token = server.token(DESTROYS)
    opened = provider(server, vault, token)
    handle = opened.create(1)
    server.ask("POST", "auth/token/revoke", {"token": token})
    with pytest.raises(RootKeyError, match="revoked") as refusal:
        opened.unwrap(handle)
    assert refusal.value.exit_code == Exit.ROOT_KEY
    assert "revoked" in str(opened.why_unusable())


def test_a_token_that_only_unwraps_opens_and_makes_nothing(server: OpenBao, vault: UUID) -> None:
    handle = provider(server, vault).create(1)
    opened = provider(server, vault, server.token(UNWRAPS))
    assert len(opened.unwrap(handle)) == 32
    with pytest.raises(PrivilegedStepNeededError):
        opened.create(2)
    assert opened.why_unusable() == f"The OpenBao token's policy does not allow read on transit/keys/{key_of(vault)}."


@pytest.mark.parametrize(("rules", "lacking"), [(WRAPS, "keys"), (ANY_KEY, "encrypt")])
def test_a_policy_that_is_too_narrow_is_noticed_before_anything_is_made(
    server: OpenBao, vault: UUID, rules: str, lacking: str
) -> None:
    assert f"does not allow update on transit/{lacking}/" in str(
        provider(server, vault, server.token(rules)).why_unusable()
    )


def test_without_the_right_to_rotate_a_new_generation_is_left_to_a_privileged_hand(
    server: OpenBao, vault: UUID
) -> None:
    opened = provider(server, vault, server.token(MAKES))
    first = opened.create(1)
    with pytest.raises(PrivilegedStepNeededError, match="/rotate") as refusal:
        opened.create(2)
    assert "capabilities" in refusal.value.advice
    assert opened.unwrap(first)


@pytest.mark.parametrize(("rules", "missing"), [(ROTATES, "/config"), (CONFIGURES, "/trim")])
def test_without_the_right_to_configure_or_trim_destroying_stays_pending_until_somebody_does(
    server: OpenBao, vault: UUID, rules: str, missing: str
) -> None:
    opened = provider(server, vault, server.token(rules))
    first, second = opened.create(1), opened.create(2)
    outcome = opened.destroy(first)
    assert isinstance(outcome, Pending)
    assert missing in outcome.until
    assert provider(server, vault).destroy(first) == Destroyed()
    assert opened.destroy(first) == Destroyed()
    assert opened.unwrap(second)


def settings_with(server: OpenBao, vault: UUID, file: Path | None, **environment: str) -> ProviderSettings:
    options = {"address": server.address, "ca_file": str(server.ca_file)}
    return ProviderSettings(vault_id=vault, root_key_file=file, options=options, environment=environment)


def token_file(path: Path, content: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)
    return path


def test_the_token_is_read_from_a_file_a_credential_the_environment_or_where_bao_login_left_it(
    server: OpenBao, vault: UUID, tmp_path: Path
) -> None:
    good, bad = server.root_token + "\n", "s.bad"
    named = token_file(tmp_path / "own" / "token", good)
    token_file(tmp_path / "unit" / "syncvault-openbao-token", good, 0o440)
    token_file(tmp_path / "home" / ".vault-token", good)
    unit, home = {"CREDENTIALS_DIRECTORY": str(tmp_path / "unit")}, {"HOME": str(tmp_path / "home")}
    for file, environment in (
        (named, {"BAO_TOKEN": bad}),
        (tmp_path / "missing", unit | {"BAO_TOKEN": bad}),
        (None, {"BAO_TOKEN": server.root_token, "VAULT_TOKEN": bad}),
        (None, {"VAULT_TOKEN": server.root_token, **home}),
        (None, home),
    ):
        opened = OpenBaoProvider(settings_with(server, vault, file, **environment))
        assert opened.why_unusable() is None


def test_a_new_token_in_the_file_is_used_without_starting_again(server: OpenBao, vault: UUID, tmp_path: Path) -> None:
    file = token_file(tmp_path / "own" / "token", server.token(DESTROYS))
    opened = OpenBaoProvider(settings_with(server, vault, file))
    handle = opened.create(1)
    server.ask("POST", "auth/token/revoke", {"token": file.read_text()})
    file.write_text(server.token(DESTROYS))
    assert opened.unwrap(handle)


def test_a_token_that_others_can_read_is_refused(server: OpenBao, vault: UUID, tmp_path: Path) -> None:
    file = token_file(tmp_path / "own" / "token", server.root_token, 0o644)
    assert "Other users can reach" in str(OpenBaoProvider(settings_with(server, vault, file)).why_unusable())


@pytest.mark.parametrize("content", ['{"format": "syncvault-root-keys v1"}', "two words", "", "ü", "x" * 5000])
def test_a_file_that_holds_something_else_is_not_sent_as_a_token(
    server: OpenBao, vault: UUID, tmp_path: Path, content: str
) -> None:
    file = token_file(tmp_path / "own" / "token", content)
    why = OpenBaoProvider(settings_with(server, vault, file)).why_unusable()
    assert why == f"{file} holds no OpenBao token."


# -- where to ask -----------------------------------------------------------------------------------------------


def test_the_standard_variables_lead_to_the_server_and_what_was_found_is_remembered(
    server: OpenBao, vault: UUID
) -> None:
    for prefix in ("BAO", "VAULT"):
        environment = {
            f"{prefix}_ADDR": server.address + "/",
            f"{prefix}_CACERT": str(server.ca_file),
            f"{prefix}_TOKEN": server.root_token,
        }
        made = OpenBaoProvider(ProviderSettings(vault_id=vault, environment=environment))
        handle = made.create(1)
        assert dict(made.remembers) == {
            "address": server.address,
            "mount": "transit",
            "key": key_of(vault),
            "ca_file": str(server.ca_file),
            "namespace": "",
            "exclusive": "yes",
        }
        strange = {"BAO_ADDR": "https://elsewhere.example", "BAO_NAMESPACE": "x", "BAO_TOKEN": server.root_token}
        later = ProviderSettings(vault_id=vault, options=made.remembers, environment=strange)
        assert OpenBaoProvider(later).unwrap(handle)


@pytest.mark.parametrize(
    "address",
    [
        "http://bao.example:8200",
        "http://127.0.0.1.example:8200",
        "ftp://127.0.0.1",
        "bao.example:8200",
        "https://",
        "https://user:pass@bao.example",
        "https://bao.example?x=1",
        "https://bao.example:port",
        "https://bao.exa mple",
        "unix:///run/bao.sock",
    ],
)
def test_an_address_where_a_token_must_not_go_is_refused(vault: UUID, address: str) -> None:
    environment = {"BAO_TOKEN": "s.the-token"}
    opened = OpenBaoProvider(ProviderSettings(vault_id=vault, options={"address": address}, environment=environment))
    with pytest.raises(RootKeyError, match=r"option address|does not begin with https") as refusal:
        opened.create(1)
    assert "pass@" not in refusal.value.message + refusal.value.advice
    assert str(opened.why_unusable()) == refusal.value.message


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_an_agent_on_this_machine_may_be_asked_without_tls(vault: UUID, host: str) -> None:
    options, environment = {"address": f"http://{host}:9"}, {"BAO_TOKEN": "s.the-token"}
    why = OpenBaoProvider(ProviderSettings(vault_id=vault, options=options, environment=environment)).why_unusable()
    assert str(why).startswith(f"OpenBao at http://{host}:9 cannot be reached")


@pytest.mark.parametrize(
    "options",
    [{"key": "a/b"}, {"mount": "../sys"}, {"namespace": "a b"}, {"exclusive": "maybe"}],
)
def test_an_option_that_cannot_be_right_is_refused_by_name(vault: UUID, options: dict[str, str]) -> None:
    given = {"address": "https://bao.example", **options}
    opened = OpenBaoProvider(ProviderSettings(vault_id=vault, options=given, environment={}))
    assert next(iter(options)) in str(opened.why_unusable())


def test_without_an_address_it_says_so_and_asks_nobody(vault: UUID) -> None:
    why = OpenBaoProvider(ProviderSettings(vault_id=vault, environment={})).why_unusable()
    assert why == "No address of an OpenBao or Vault server is given."


def test_a_server_signed_by_a_strange_authority_is_not_trusted(
    server: OpenBao, vault: UUID, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "strange.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca_file))  # does not decide whom to trust
    for ca_file in (str(tmp_path / "strange.pem"), ""):
        opened = provider(server, vault, ca_file=ca_file)
        assert "is not trusted" in str(opened.why_unusable())


def test_a_missing_or_empty_file_of_authorities_is_a_clear_error(server: OpenBao, vault: UUID, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    assert "missing" in str(provider(server, vault, ca_file=str(tmp_path / "none.pem")).why_unusable())
    assert str(provider(server, vault, ca_file=str(tmp_path / "empty.pem")).why_unusable()).endswith(".")


def test_a_proxy_of_the_environment_is_not_asked_the_way_to_this_machine(
    server: OpenBao, vault: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert provider(server, vault).why_unusable() is None


# -- servers that are not well ----------------------------------------------------------------------------------


def test_a_sealed_server_is_called_sealed(tmp_path: Path, authority: Authority, vault: UUID) -> None:
    with openbao_server(tmp_path, authority.ca) as server:
        opened = provider(server, vault)
        handle = opened.create(1)
        key = opened.unwrap(handle)
        server.ask("PUT", "sys/seal")
        for verb in (lambda: opened.unwrap(handle), lambda: opened.create(2), lambda: opened.destroy(handle)):
            with pytest.raises(RootKeyError, match="is sealed"):
                verb()
        assert "is sealed" in str(opened.why_unusable())
        server.unseal()
        assert opened.unwrap(handle) == key


def test_a_lost_min_decryption_version_is_told_and_can_be_put_back(server: OpenBao, vault: UUID) -> None:
    opened = provider(server, vault)
    handle = opened.create(1)
    key = opened.unwrap(handle)
    server.ask("POST", f"transit/keys/{key_of(vault)}/rotate")
    server.ask("POST", f"transit/keys/{key_of(vault)}/config", {"min_decryption_version": 2})
    with pytest.raises(RootKeyError, match="min_decryption_version is above it") as refusal:
        opened.unwrap(handle)
    assert "back" in refusal.value.advice
    server.ask("POST", f"transit/keys/{key_of(vault)}/config", {"min_decryption_version": 1})
    assert opened.unwrap(handle) == key


def test_a_server_set_back_to_before_the_version_is_told(server: OpenBao, vault: UUID) -> None:
    opened = provider(server, vault)
    handle = opened.create(1)
    later = {**handle, "version": 9, "ciphertext": str(handle["ciphertext"]).replace(":v1:", ":v9:")}
    with pytest.raises(RootKeyError, match="older state"):
        opened.unwrap(later)


def test_nothing_of_the_token_shows_in_the_provider(server: OpenBao, vault: UUID) -> None:
    opened = provider(server, vault)
    assert server.root_token not in repr(opened)
    assert server.root_token not in json.dumps(dict(opened.remembers))


# -- a vault on it ----------------------------------------------------------------------------------------------


def place_on(server: OpenBao, home: Path, token: str) -> Place:
    """Where a vault can be made that keeps its root key on the server."""
    file = token_file(home / "token" / "token", token)
    options = {"address": server.address, "ca_file": str(server.ca_file)}
    databases = (layout.default_database(home / "vault"), layout.default_key_database(home / "vault"))
    return Place(Layout(home / "vault", *databases, "openbao", file, options))


def test_erasing_a_tenant_destroys_the_version_that_wrapped_its_keys(
    server: OpenBao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_on(server, tmp_path, server.token(DESTROYS))
    made = place.create()
    gone, stays = register(made, "acme"), register(made, "other")
    receipt = json.loads(erasure.erase(made, gone, reason=erasure.ON_DEMAND, role="root").receipt)["statement"]
    assert (receipt["status"], receipt["outstanding"]) == ("final", [])
    assert receipt["root_key"] == {"provider": "openbao", "generation": 2, "replaced": 1}
    state = server.key(key_of(UUID(bytes=made.id)))
    assert (state["latest_version"], state["min_available_version"]) == (2, 2)
    monkeypatch.setenv("BAO_ADDR", "https://elsewhere.example")
    assert tenants.find(place.open(), "other").id == stays.id
    place.close()


def test_an_erasure_under_a_policy_without_trim_says_what_is_outstanding(server: OpenBao, tmp_path: Path) -> None:
    place = place_on(server, tmp_path, server.token(CONFIGURES))
    made = place.create()
    erased = erasure.erase(made, register(made, "acme"), reason=erasure.ON_DEMAND, role="root")
    assert erased.status == "interim"
    assert "/trim" in erased.outstanding[0]
    place.close()


def test_an_erasure_under_a_policy_without_rotate_leaves_the_root_key_to_be_replaced(
    server: OpenBao, tmp_path: Path
) -> None:
    place = place_on(server, tmp_path, server.token(MAKES))
    made = place.create()
    erased = erasure.erase(made, register(made, "acme"), reason=erasure.ON_DEMAND, role="root")
    assert erased.status == "interim"
    assert "not replaced yet" in erased.outstanding[0]
    assert place.open().keys.root == ("openbao", 1)
    place.close()
