"""The AWS KMS provider against moto, which keeps to the API's shape; there is no AWS KMS to run here.

moto decrypts with a key that waits for its deletion, as AWS never does, so that it cannot prove erasure: what is
proved is that syncvault asks for the deletion, says when it ends, and does not use the key meanwhile. A relay before
moto gives the refusals that moto does not know.
"""

from __future__ import annotations

import base64
import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from uuid import uuid4

import boto3
import pytest
import requests
from moto.kms.models import kms_backends

from syncvault.errors import Exit, RootKeyError
from syncvault.roots import aws_kms_api, wrapping
from syncvault.roots.aws_kms import AwsKmsProvider
from syncvault.roots.port import Destroyed, Handle, NotPossible, Pending, ProviderSettings
from tests.integration.wrapped_handles import assert_only_the_whole_wrapped_key_opens
from tests.parts import kms_server

pytestmark = pytest.mark.slow  # against a server or a token of its own

REGION = "eu-central-1"
ACCOUNT = "123456789012"  # moto's
SECRET = "wJalrXUtnFEMI/canary/EXAMPLEKEY"


@pytest.fixture(scope="module")
def kms() -> Iterator[str]:
    with kms_server() as url:
        yield url


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.fixture
def settings(kms: str) -> ProviderSettings:
    return ProviderSettings(vault_id=uuid4(), options={"region": REGION, "endpoint": kms})


@pytest.fixture
def admin(kms: str) -> Iterator[Any]:
    """The operator's own client."""
    client = boto3.client("kms", region_name=REGION, endpoint_url=kms)
    yield client
    client.close()


@pytest.fixture
def shared(settings: ProviderSettings, admin: Any) -> ProviderSettings:
    return with_options(settings, key_id=admin.create_key()["KeyMetadata"]["KeyId"])


def with_options(settings: ProviderSettings, **options: str) -> ProviderSettings:
    return replace(settings, options={**settings.options, **options})


def key_id(handle: Handle) -> str:
    return str(handle["key"]).rpartition("/")[2]


def refusal(settings: ProviderSettings, handle: Handle | None = None, **more: Any) -> RootKeyError:
    provider = AwsKmsProvider(settings, **more)
    with pytest.raises(RootKeyError) as caught:
        provider.create(1) if handle is None else provider.unwrap(handle)
    assert SECRET not in caught.value.message + caught.value.advice
    assert caught.value.__cause__ is None
    assert caught.value.exit_code == Exit.ROOT_KEY
    return caught.value


class Relay(ThreadingHTTPServer):
    """Passes requests on to moto, and answers some verbs itself."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), Relayed)
        self.target = target
        self.answers: dict[str, list[tuple[int, bytes]]] = {}
        self.seen: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def refuse(self, verb: str, code: str, times: int = 1000, status: int = 400) -> None:
        self.answers[verb] = [(status, json.dumps({"__type": code, "message": "no"}).encode())] * times


class Relayed(BaseHTTPRequestHandler):
    server: Relay

    def do_POST(self) -> None:
        verb = self.headers["X-Amz-Target"].rpartition(".")[2]
        self.server.seen.append(verb)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answers = self.server.answers.get(verb)
        if answers:
            status, content = answers.pop()
        else:
            headers = {name: value for name, value in self.headers.items() if name != "Host"}
            with requests.post(self.server.target, data=body, headers=headers, timeout=10) as answer:
                status, content = answer.status_code, answer.content
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def relay(kms: str) -> Iterator[Relay]:
    with Relay(kms) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def through(settings: ProviderSettings, relay: Relay) -> ProviderSettings:
    return with_options(settings, endpoint=relay.url)


# What it makes


def test_each_generation_has_a_key_of_its_own_under_an_alias(settings: ProviderSettings, admin: Any) -> None:
    provider = AwsKmsProvider(settings)
    handles = [provider.create(n) for n in (1, 2)]
    for handle in handles:
        alias = f"alias/syncvault-{settings.vault_id}-{handle['generation']}"
        assert admin.describe_key(KeyId=alias)["KeyMetadata"]["Arn"] == handle["key"]
        assert set(handle) == {"provider", "generation", "key", "wrapped"}
    assert handles[0]["key"] != handles[1]["key"]


def test_aws_alone_opens_what_it_wrapped_given_vault_and_generation(settings: ProviderSettings, admin: Any) -> None:
    provider = AwsKmsProvider(settings)
    handle = json.loads(json.dumps(provider.create(3)))
    context = {"syncvault-vault": str(settings.vault_id), "syncvault-generation": "3"}
    answer = admin.decrypt(CiphertextBlob=base64.b64decode(handle["wrapped"]), EncryptionContext=context)
    assert answer["Plaintext"] == AwsKmsProvider(settings).unwrap(handle)


def test_creating_again_takes_over_the_key_and_both_handles_open(settings: ProviderSettings) -> None:
    provider = AwsKmsProvider(settings)
    first = provider.create(1)
    key = provider.unwrap(first)
    second = provider.create(1)
    assert second["key"] == first["key"]
    assert provider.unwrap(first) == key
    assert len(provider.unwrap(second)) == 32


@pytest.mark.parametrize("named", ["id", "arn", "alias"])
def test_a_named_key_serves_every_generation(settings: ProviderSettings, admin: Any, named: str) -> None:
    made = admin.create_key()["KeyMetadata"]
    alias = f"alias/{uuid4()}"
    admin.create_alias(AliasName=alias, TargetKeyId=made["KeyId"])
    chosen = with_options(settings, key_id={"id": made["KeyId"], "arn": made["Arn"], "alias": alias}[named])
    provider = AwsKmsProvider(chosen)
    handles = [provider.create(n) for n in (1, 2)]
    assert {handle["key"] for handle in handles} == {made["Arn"]}
    assert provider.unwrap(handles[0]) != provider.unwrap(handles[1])
    assert provider.remembers == chosen.options


def test_a_key_that_aws_does_not_know_everywhere_yet_is_waited_for(through: ProviderSettings, relay: Relay) -> None:
    relay.refuse("Encrypt", "NotFoundException", times=2)
    relay.refuse("CreateAlias", "NotFoundException", times=1)
    pauses: list[float] = []
    assert AwsKmsProvider(through, pause=pauses.append).create(1)
    assert pauses == [0.5, 0.5, 1.0]
    relay.refuse("Encrypt", "NotFoundException")
    assert "does not know the key" in refusal(through, pause=pauses.append).message
    assert sum(pauses) < 30


def test_of_two_processes_that_make_a_key_both_use_the_one_that_got_the_alias(
    through: ProviderSettings, relay: Relay, admin: Any
) -> None:
    first = AwsKmsProvider(through).create(1)
    relay.refuse("DescribeKey", "NotFoundException", times=1)
    second = AwsKmsProvider(through).create(1)
    assert second["key"] == first["key"]
    ours = [admin.describe_key(KeyId=each["KeyId"])["KeyMetadata"] for each in admin.list_keys()["Keys"]]
    states = {key["Arn"]: key["KeyState"] for key in ours if str(through.vault_id) in key["Description"]}
    assert states.pop(first["key"]) == "Enabled"
    assert list(states.values()) == ["PendingDeletion"]


def test_a_key_without_an_alias_is_not_left_behind(through: ProviderSettings, relay: Relay, admin: Any) -> None:
    relay.refuse("CreateAlias", "AccessDeniedException")
    assert "do not allow CreateAlias" in refusal(through).message
    ours = [
        key
        for key in (admin.describe_key(KeyId=each["KeyId"])["KeyMetadata"] for each in admin.list_keys()["Keys"])
        if str(through.vault_id) in key["Description"]
    ]
    assert [key["KeyState"] for key in ours] == ["PendingDeletion"]


# What it refuses


@pytest.mark.slow
def test_every_flipped_byte_and_every_cut_of_the_wrapped_key_is_refused(settings: ProviderSettings) -> None:
    assert_only_the_whole_wrapped_key_opens(AwsKmsProvider(settings), cut_every=16)


@pytest.mark.parametrize(
    "damage",
    [
        {"wrapped": "not base64!"},
        {"wrapped": 7},
        {"key": "another"},
        {"key": "alias/another"},
        {"key": f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/x"},
        {"key": f"arn:aws:s3:{REGION}:{ACCOUNT}:key/x"},
        {"generation": 2},
        {"generation": 10**40},
    ],
)
def test_a_handle_that_was_changed_is_refused(settings: ProviderSettings, damage: dict[str, str | int]) -> None:
    handle = AwsKmsProvider(settings).create(1)
    error = refusal(settings, {**handle, **damage})
    assert "damaged" in error.message or "malformed" in error.message


def test_a_handle_never_leads_to_another_region(settings: ProviderSettings, kms: str) -> None:
    handle = AwsKmsProvider(settings).create(1)
    elsewhere = {**handle, "key": str(handle["key"]).replace(REGION, "us-east-1")}
    error = refusal(with_options(settings, endpoint="http://127.0.0.1:9"), elsewhere)
    assert "us-east-1" in error.message
    with pytest.raises(RootKeyError, match="us-east-1"):
        AwsKmsProvider(settings).destroy(elsewhere)


def test_a_handle_never_leads_to_another_account(settings: ProviderSettings, through: ProviderSettings) -> None:
    handle = AwsKmsProvider(settings).create(1)
    theirs = {**handle, "key": str(handle["key"]).replace(ACCOUNT, "999999999999")}
    assert "not in the account" in refusal(settings, theirs).message


def test_another_vault_s_handle_does_not_open(settings: ProviderSettings, shared: ProviderSettings) -> None:
    for each in (settings, shared):
        handle = AwsKmsProvider(each).create(1)
        assert "another vault" in refusal(replace(each, vault_id=uuid4()), handle).message


def test_a_disabled_key_and_one_waiting_for_deletion_are_told_apart(settings: ProviderSettings, admin: Any) -> None:
    handle = AwsKmsProvider(settings).create(1)
    admin.disable_key(KeyId=key_id(handle))
    assert "is disabled" in refusal(settings, handle).message
    assert "is disabled" in refusal(settings).message
    admin.schedule_key_deletion(KeyId=key_id(handle), PendingWindowInDays=30)
    error = refusal(settings, handle)
    assert "waits for its deletion" in error.message
    assert "cancel the deletion" in error.advice
    assert "waits for its deletion" in refusal(settings).message
    admin.cancel_key_deletion(KeyId=key_id(handle))
    admin.enable_key(KeyId=key_id(handle))
    assert AwsKmsProvider(settings).unwrap(handle)


def test_a_key_that_is_not_there_is_named(settings: ProviderSettings) -> None:
    missing = str(uuid4())
    assert missing in refusal(with_options(settings, key_id=missing)).message
    handle = AwsKmsProvider(settings).create(1)
    arn = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{missing}"
    assert arn in refusal(settings, {**handle, "key": arn}).message


# Destroying


def test_destroying_is_pending_until_aws_has_deleted_the_key(settings: ProviderSettings, admin: Any) -> None:
    provider = AwsKmsProvider(settings)
    first, second = provider.create(1), provider.create(2)
    due = f"{datetime.now(UTC) + timedelta(days=7):%Y-%m-%d}"
    outcome = provider.destroy(first)
    assert outcome == Pending(f"AWS KMS deletes the key {first['key']} on {due}")
    assert provider.destroy(first) == outcome
    assert "waits for its deletion" in refusal(settings, first).message
    assert provider.unwrap(second)
    backend = kms_backends[ACCOUNT][REGION]
    backend.delete_key(key_id(first))  # what AWS does at the window's end
    assert provider.destroy(first) == Destroyed()
    assert "does not know the key" in refusal(settings, first).message


def test_a_shared_key_is_left_alone_and_the_answer_says_what_to_do(shared: ProviderSettings, admin: Any) -> None:
    provider = AwsKmsProvider(shared)
    handle = provider.create(1)
    outcome = provider.destroy(handle)
    assert isinstance(outcome, NotPossible)
    assert "schedule its deletion in AWS" in outcome.why
    assert provider.unwrap(handle)
    admin.schedule_key_deletion(KeyId=key_id(handle), PendingWindowInDays=9)
    assert isinstance(provider.destroy(handle), Pending)


def test_a_changed_handle_does_not_have_another_key_deleted(
    settings: ProviderSettings, shared: ProviderSettings
) -> None:
    own, named = AwsKmsProvider(settings), AwsKmsProvider(shared)
    handle, other = own.create(1), named.create(1)
    assert isinstance(own.destroy({**handle, "key": other["key"]}), NotPossible)
    with pytest.raises(RootKeyError, match="damaged"):
        own.destroy({**handle, "key": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{uuid4()}"})
    assert own.unwrap(handle)
    assert named.unwrap(other)


@pytest.mark.parametrize("verb", ["ScheduleKeyDeletion", "DescribeKey"])
def test_without_permission_nothing_is_called_destroyed(through: ProviderSettings, relay: Relay, verb: str) -> None:
    provider = AwsKmsProvider(through)
    handle = provider.create(1)
    relay.refuse(verb, "AccessDeniedException")
    outcome = provider.destroy(handle)
    assert isinstance(outcome, NotPossible)
    assert "credentials may not" in outcome.why


# What may be wrong on the way


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("UnrecognizedClientException", "refuses the credentials"),
        ("ExpiredTokenException", "refuses the credentials"),
        ("AccessDeniedException", "do not allow Decrypt"),
        ("DisabledException", "disabled, or its state"),
        ("KMSInvalidStateException", "disabled, or its state"),
        ("ThrottlingException", "throttled"),
        ("KMSInternalException", "is ill"),
        ("SomethingNewException", "refuses Decrypt: SomethingNewException"),
    ],
)
def test_each_refusal_has_a_sentence_of_its_own(
    through: ProviderSettings, relay: Relay, code: str, sentence: str
) -> None:
    handle = AwsKmsProvider(through).create(1)
    relay.refuse("Decrypt", code)
    relay.seen.clear()
    assert sentence in refusal(through, handle).message
    assert relay.seen.count("Decrypt") <= 2


@pytest.mark.parametrize("content", [b"", b"{}", b"<html>", b'{"KeyMetadata": {"Arn": 5}}', b'{"KeyMetadata": []}'])
@pytest.mark.parametrize("verb", ["DescribeKey", "Decrypt"])
def test_an_answer_that_is_not_aws_kms_s_is_refused(
    through: ProviderSettings, relay: Relay, verb: str, content: bytes
) -> None:
    handle = AwsKmsProvider(through).create(1)
    relay.answers[verb] = [(200, content)] * 4
    message = refusal(through, handle).message
    assert "without a usable" in message or "cannot be used" in message


def test_an_answer_about_another_key_is_refused(through: ProviderSettings, relay: Relay) -> None:
    handle = AwsKmsProvider(through).create(1)
    answer = {"KeyId": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/other", "Plaintext": base64.b64encode(bytes(32)).decode()}
    relay.answers["Decrypt"] = [(200, json.dumps(answer).encode())]
    assert "damaged" in refusal(through, handle).message


def test_without_credentials_it_says_so(settings: ProviderSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "No AWS credentials" in refusal(settings).message
    assert "no profile ours" in refusal(with_options(settings, profile="ours")).message


def test_an_address_where_nobody_listens_is_unreachable(settings: ProviderSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "cannot be reached" in refusal(with_options(settings, endpoint=f"http://127.0.0.1:{port}")).message


@contextmanager
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_does_not_answer_is_given_up_on(
    settings: ProviderSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_kms_api, "READ_SECONDS", 0.1)
    with silent() as url:
        begun = time.monotonic()
        assert "did not answer" in refusal(with_options(settings, endpoint=url)).message
        assert time.monotonic() - begun < 10


def test_credentials_that_take_too_long_are_given_up_on(
    settings: ProviderSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (tmp_path / "config").write_text("[default]\ncredential_process = sleep 3\n")
    begun = time.monotonic()
    assert "did not answer" in refusal(settings, patience=0.5).message
    assert time.monotonic() - begun < 2.5


@pytest.mark.parametrize(
    "url",
    [
        "http://kms.example.com",
        "http://10.0.0.1",
        "ftp://127.0.0.1",
        "kms.example.com",
        "https://",
        "https://user:pass@kms.example.com",
        "http://127.0.0.1.example.com",
        "https://kms.example.com:port",
    ],
)
def test_no_key_passes_through_an_endpoint_without_tls(
    settings: ProviderSettings, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    assert "not an https address" in refusal(with_options(settings, endpoint=url)).message
    assert "pass@" not in refusal(with_options(settings, endpoint=url)).message


def test_an_endpoint_of_the_environment_without_tls_is_refused_too(
    settings: ProviderSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://kms.example.com")
    assert "not an https address" in refusal(replace(settings, options={"region": REGION})).message


def test_the_root_key_is_never_logged(settings: ProviderSettings, caplog: pytest.LogCaptureFixture) -> None:
    botocore = logging.getLogger("botocore")
    before = botocore.level
    botocore.setLevel(logging.DEBUG)
    try:
        with caplog.at_level(logging.DEBUG):
            provider = AwsKmsProvider(settings)
            key = provider.unwrap(provider.create(1))
    finally:
        botocore.setLevel(before)
    assert base64.b64encode(key).decode() not in caplog.text
    assert repr(key)[2:20] not in caplog.text


def test_a_missing_library_says_how_to_install_it(settings: ProviderSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapping, "find_spec", lambda _: None)
    assert "pip install 'syncvault[aws-kms]'" in refusal(settings).message


def test_it_says_in_turn_what_it_was_not_told() -> None:
    def why(environment: dict[str, str] | None = None, **options: str) -> str:
        given = ProviderSettings(vault_id=uuid4(), options=options, environment=environment or {})
        return AwsKmsProvider(given).why_unusable() or ""

    assert "No AWS region" in why()
    assert why({"AWS_REGION": REGION}) == ""
    assert why({"AWS_DEFAULT_REGION": REGION}) == ""
    assert "malformed" in why(region="evil.example.com/")
    assert "not an https address" in why(region=REGION, endpoint="http://kms.example.com")
    assert "key_id" in why(region=REGION, key_id="alias/a b")
    assert why(region=REGION, key_id=f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/ours") == ""


def test_it_remembers_the_region_that_the_environment_named() -> None:
    settings = ProviderSettings(vault_id=uuid4(), environment={"AWS_REGION": REGION})
    assert AwsKmsProvider(settings).remembers == {"region": REGION}
