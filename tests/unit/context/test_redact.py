"""Redaction: secrets go, everything that is read in logs every day stays."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.context.redact import Redactor, plain

REDACT = Redactor()
CANARY = "CANARY7x9"

SECRETS = [
    "Authorization: Bearer {}.def-123",
    "authorization: Basic {}",
    "curl -H 'Authorization: token {}' http://x",
    "bearer ey{}",
    "password={}",
    "db_password: {} and more words",
    '{{"password":"{}","user":"bob"}}',
    r"{{\"password\":\"{}\",\"user\":\"bob\"}}",
    "password='{}'",
    'password="{}',
    "PGPASSWORD={} psql",
    "export DB_PASS={}",
    "secret => {}",
    "token: {}",
    "client_secret={}&grant_type=x",
    "x-api-key: {}",
    "MISTRAL_API_KEY={}aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "postgres://user:{}@db/x",
    "postgres://user:p@{}@db/x",
    "redis://:{}@cache:6379/0",
    "requirepass {}",
    "mysql --password {} -h db",
    "curl -u bob:{} http://x",
    "IDENTIFIED BY '{}'",
    "Set-Cookie: session={}; Path=/",
    "xoxb-123456789012-{}",
    "https://hooks.slack.com/services/T000/B000/{}",
    "ghp_abcdefghijklmnop{}aaaaaaaaa",
    "ro_abcdefghijklmnop{}aaaaaaaaa",
    "\x1b[1mpass\x1b[0mword={}",
    "-----BEGIN RSA PRIVATE KEY-----\nabc{}\nxyz\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nabc{}",
]

ORDINARY = [
    "Failed password for root from 10.0.0.1 port 22 ssh2",
    'nginx[123]: open() "/x" failed (2: No such file or directory)',
    "fingerprint=5327ba639671eba6 sha256:" + "ab12" * 16,
    "unexpected token: EOF",
    "token_ttl=3600 password_file=/etc/x secretName: my-tls",
    "GET /static/app.0f3e4d5c6b7a89012345678901234567.js 200",
    'up{instance="web1:9100",job="node"} 1',
    "commit 356f386aa" + "c" * 31,
    "http://[::1]:9100/a@b ssh://host:22 user@host",
    "password_set: true",
    "uuid 550e8400-e29b-41d4-a716-446655440000",
    "bearer token missing",
    "monkey=banana primary key=5 keyring loaded: 3 keys",
    "Accepted publickey for bob: RSA SHA256:Xu0yQ2",
    "pass: 12 fail: 3",
    'level=info msg="token refreshed" took=3s',
    "error: secret not found",
    "container 0123456789abcdef0123456789abcdef exited",
    "2026-11-27T11:28:31.617Z\tERROR\tünïcode ☃",
]


@pytest.mark.parametrize("line", SECRETS)
def test_secrets_are_taken_out(line):
    """Headers, assignments, addresses, keys and tokens lose their secret, and a second pass changes nothing."""
    done = REDACT("before\n" + line.format(CANARY) + "\nafter (end)")
    assert CANARY not in done
    assert "[redacted:" in done
    assert done.startswith("before\n")
    assert REDACT(done) == done


@pytest.mark.parametrize("line", ORDINARY)
def test_ordinary_lines_stay_as_they_are(line):
    """Hashes, fingerprints, ids and talk about passwords are no secrets."""
    assert REDACT(line) == line


def test_detectors_of_the_library_are_used():
    """What only the library knows is found: a Stripe key, a SendGrid key, an AWS key id."""
    stripe = "sk_" + "live_" + "a1B2c3D4e5F6g7H8i9J0k1L2"
    assert "a1B2" not in REDACT(f"stripe answered 401 for {stripe}")
    assert REDACT("id AKIAIOSFODNN7EXAMPLE") == "id [redacted:aws key]"


def test_known_secrets_go_wherever_they_stand():
    """A token of the settings is taken out even where nothing around it tells."""
    assert Redactor(["hunter2hunter2"])("x hunter2hunter2y") == "x [redacted:known]y"
    assert Redactor(["", "ab"])("ab cd") == "ab cd"


def test_json_is_redacted_by_key_and_by_text():
    """In data, a key that names a secret hides its value; other values are read like text."""
    value = {
        "password": CANARY,
        "api_key": 12345,
        "has_password": True,
        "list": [f"token={CANARY}", 5, None],
        "deep": {"n": {"secret": {"x": "y"}}},
    }
    done = REDACT.mapping(value)
    assert CANARY not in json.dumps(done)
    assert done["api_key"] == "[redacted:key]"
    assert done["has_password"] is True
    assert done["list"][1:] == [5, None]
    assert done["deep"] == {"n": {"secret": {"x": "y"}}}
    assert REDACT.mapping(done) == done


def test_terminal_sequences_and_control_characters_go():
    """Nothing that moves a cursor, hides text or turns its direction is left; line feeds and tabs are."""
    assert plain("\x1b[31mred\x1b[0m\x07\x1b]0;title\x07 a\u202eb\r\n\tc\x00") == "red ab\n\tc"
    assert plain("\x1b]0;unclosed\nnext") == "\nnext"


@settings(deadline=None)
@given(st.text(), st.sampled_from(SECRETS), st.text())
def test_redaction_is_settled_after_one_pass(before, line, after):
    """Whatever stands around, the canary in a line of its own is gone and a second pass finds nothing more of it."""
    done = REDACT(f"{before}\n{line.format(CANARY)}\n{after}")
    assert CANARY not in done
    assert REDACT(done).count(CANARY) == 0


@pytest.mark.parametrize(
    "line",
    [
        "a" * 1_000_000,
        "password=" * 110_000,
        "://a:" * 200_000,
        '"password": "' + "\\" * 1_000_000,
        "token =" + " " * 1_000_000,
        "\x1b[" * 500_000,
    ],
    ids=["letters", "names", "addresses", "backslashes", "spaces", "escapes"],
)
def test_a_line_of_a_megabyte_is_bounded(line):
    """No pattern runs away on a hostile line: seconds, where a runaway would take hours."""
    started = time.process_time()
    REDACT(line)
    assert time.process_time() - started < 60
