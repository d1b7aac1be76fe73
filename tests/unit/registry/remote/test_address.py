"""URLs of registries, and the headers in which they say what they want."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeldeploy.errors import ConfigError
from modeldeploy.registry.remote.address import Address, is_name, origin_of, shown
from modeldeploy.registry.remote.challenge import Challenge, challenges
from modeldeploy.registry.remote.wire import proxy_for


@pytest.mark.parametrize(
    ("url", "origin", "prefix"),
    [
        ("https://host.example/team", "https://host.example", "team"),
        ("https://HOST.example:443/a/b/", "https://host.example", "a/b"),
        ("https://host.example:8443", "https://host.example:8443", ""),
        ("http://127.0.0.1:5000/team", "http://127.0.0.1:5000", "team"),
        ("http://[::1]:5000/team", "http://[::1]:5000", "team"),
        ("http://localhost/team", "http://localhost", "team"),
        ("https://docker.io/team", "https://registry-1.docker.io", "team"),
    ],
)
def test_a_url_is_a_registry_and_a_prefix(url: str, origin: str, prefix: str) -> None:
    address = Address.parse(url)
    assert (address.origin, address.prefix) == (origin, prefix)
    assert origin_of(str(address)) == origin


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://host.example/team", "without encryption"),
        ("http://127.0.0.1.host.example/team", "without encryption"),
        ("https://ada:hunter2@host.example/team", "user or a password"),
        ("https://host.example/Team", "path 'Team'"),
        ("https://host.example/../team", "path"),
        ("https://host.example/team?x=hunter2", "cannot be understood"),
        ("https://", "cannot be understood"),
        ("https://host:port/team", "cannot be understood"),
        ("ftp://host/team", "cannot be understood"),
    ],
)
def test_what_is_no_url_of_a_registry_is_refused_with_the_way_to_write_it(url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        Address.parse(url)
    assert refused.value.hint
    assert "hunter2" not in f"{refused.value.message}{refused.value.hint}"


@pytest.mark.parametrize("name", ["", "a/", "/a", "a//b", "..", "A", "a b", "a" * 256, "a.", "-a", "a/../b"])
def test_what_no_repository_can_be_called(name: str) -> None:
    assert not is_name(name)


def test_a_url_is_shown_without_what_may_be_secret_in_it() -> None:
    assert shown("https://ada:hunter2@host/path?signature=hunter2#hunter2") == "https://host/path"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('Basic realm="a, b"', [Challenge("basic", {"realm": "a, b"})]),
        (
            'Bearer realm="https://host/token",service="s",scope="repository:a:pull,push"',
            [
                Challenge(
                    "bearer",
                    {"realm": "https://host/token", "service": "s", "scope": "repository:a:pull,push"},
                )
            ],
        ),
        (
            'Negotiate, bearer Realm="x\\"y" , Basic realm=z',
            [
                Challenge("negotiate"),
                Challenge("bearer", {"realm": 'x"y'}),
                Challenge("basic", {"realm": "z"}),
            ],
        ),
        ("", []),
        ('="', []),
    ],
)
def test_challenges_are_read(header: str, found: list[Challenge]) -> None:
    assert list(challenges(header)) == found


@given(st.text(max_size=200))
def test_any_header_is_read_without_an_error(header: str) -> None:
    challenges(header)


def test_proxies_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")

    assert proxy_for("https://host.example/v2/") == "http://proxy.example:3128"
    assert proxy_for("https://inside.example/v2/") is None
    assert proxy_for("http://127.0.0.1:5000/v2/") is None
    assert proxy_for("https://localhost/v2/") is None
