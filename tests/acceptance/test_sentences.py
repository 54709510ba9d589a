"""What is said of a failure is one whole sentence, says a code once, and names what it is about."""

from __future__ import annotations

import re

import pytest

from tests.acceptance.conftest import Shell
from tests.simulators.online.server import OnlineSimulator

SENTENCE = re.compile(r"[A-Z/-].*[^.]\.", re.DOTALL)


def test_the_server_s_code_stands_in_a_refusal_once(vault: Shell, online: OnlineSimulator) -> None:
    options = [*vault.online_options(online), "--secret-stdin"]
    said = vault("tenant", "add-online", "cloud", *options, given="wrong").err
    assert said.count("AADSTS7000215") == 1


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("postgresql://user:hunter2@localhost/x", 2),
        ("mysql://localhost/x", 2),
        ("nothing", 2),
        ("sqlite:////nowhere/at/all.db", 1),
    ],
)
def test_a_database_that_will_not_do_is_refused_in_a_sentence(shell: Shell, url: str, code: int) -> None:
    answer = shell("init", "--root-key", "file", "--database", url, "--json")
    assert answer.code == code
    assert SENTENCE.fullmatch(answer.error["message"])
    assert "hunter2" not in answer.out + answer.err


def test_an_import_says_which_name_is_taken(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    secret = vault.file("secret", "s")
    table = "\n".join(
        [
            "[[tenant]]",
            'name = "cloud"',
            f'directory-id = "{online.directory_id}"',
            f'client-id = "{online.client_id}"',
            'admin-mail = "admin@example.com"',
            "paid-until = 2099-01-01",
            f'secret-file = "{secret}"',
        ]
    )
    answer = vault("tenant", "import", vault.file("t.toml", table), "--json")
    assert (answer.code, answer.error["message"]) == (1, "A tenant named cloud is registered already.")
