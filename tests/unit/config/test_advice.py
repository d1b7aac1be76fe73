from collections.abc import Callable
from pathlib import Path

import pytest

from modeldeploy.config.advice import looks_secret
from modeldeploy.config.load import load
from modeldeploy.model import Level

Write = Callable[[str], Path]


def test_a_good_file_needs_no_advice(good: Path) -> None:
    assert load(good).findings() == ()


@pytest.mark.parametrize(
    ("lines", "where", "words"),
    [
        ('env = { API_KEY = "hunter2" }', 11, "targets.local.env.API_KEY: looks like a secret"),
        ('host = "0.0.0.0"', 11, "targets.local.host: on 0.0.0.0, everyone who reaches this machine"),
        (
            'rollout = { strategy = "rolling", steps = [1] }',
            11,
            "targets.local.rollout.steps: only a canary has steps",
        ),
        ('\n[targets.b]\ndriver = "process"\nport = 8080', 14, "targets.local has port 8080 too"),
        ('\n[service]\nprotocols = ["grpc"]', 13, "routes HTTP only, so nobody reaches gRPC on local"),
        ('\n[build]\ninclude = [\n"*.onnx",\n"*.txt"]', 15, "build.include[1]: no file matches *.txt"),
    ],
)
def test_warns_of_what_is_allowed_and_yet_worth_a_thought(
    good: Path, write: Write, lines: str, where: int, words: str
) -> None:
    text = (good / "modeldeploy.toml").read_text()
    (finding,) = load(write(text + lines)).findings()
    assert finding.level is Level.WARNING
    assert finding.where == f"modeldeploy.toml:{where}"
    assert words in finding.message
    assert finding.remedy
    assert "hunter2" not in str(finding)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DB_PASSWORD", "x"),
        ("openai_api_key", "x"),
        ("GITHUB_TOKEN", "x"),
        ("DSN", "postgres://user:pw@host/db"),
        ("X", "-----BEGIN RSA PRIVATE KEY-----\n"),
        ("X", "AKIAABCDEFGHIJKLMNOP"),
        ("X", "ghp_" + "a" * 36),
    ],
)
def test_knows_secrets_by_name_and_by_value(name: str, value: str) -> None:
    assert looks_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOG_LEVEL", "info"),
        ("DB_PASSWORD", ""),
        ("DB_PASSWORD_FILE", "/run/secrets/db"),
        ("TOKEN_LIMIT", "100"),
        ("URL", "https://example.org/a@b"),
        ("MONKEY", "yes"),
    ],
)
def test_does_not_cry_wolf(name: str, value: str) -> None:
    assert not looks_secret(name, value)
