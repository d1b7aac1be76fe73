"""Who does it: user and host, or who started the run in GitHub Actions."""

from __future__ import annotations

import getpass

import pytest

from modeldeploy.identity import circumstances, current

RUN = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_ACTOR": "octo-cat",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "acme/digits",
    "GITHUB_RUN_ID": "42",
    "GITHUB_WORKFLOW": "release",
    "GITHUB_SHA": "c0ffee",
}


def test_on_a_machine_it_is_user_and_host() -> None:
    assert current({}).startswith(f"{getpass.getuser()}@")
    assert circumstances({}) == {}


def test_in_github_actions_it_is_who_started_the_run_and_the_run_is_named() -> None:
    assert current(RUN) == "octo-cat@github"
    assert circumstances(RUN) == {
        "run": "https://github.com/acme/digits/actions/runs/42",
        "workflow": "release",
        "commit": "c0ffee",
    }


def test_a_name_cannot_hold_what_a_terminal_would_obey() -> None:
    assert current(RUN | {"GITHUB_ACTOR": "e\x1b[31mve\n@x"}) == "e-[31mve-@x@github"


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert current({}).startswith("uid")
