"""Completion as the shells do it, in the shells themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.conftest import PROJECT, Type
from modeldeploy.oci.descriptor import Descriptor, digest_of
from modeldeploy.oci.layout import Layout
from needs import lack

BASH = """
eval "$(mdeploy completion bash)"
COMP_LINE="$LINE"; COMP_POINT=${#LINE}; COMP_TYPE=9
read -ra COMP_WORDS <<< "$LINE"
_python_argcomplete mdeploy
printf '%s\\n' "${COMPREPLY[@]}"
"""

FISH = """
mdeploy completion fish | source
complete --do-complete $LINE
"""

MORE = """
[registry]
url = "./registry"

[targets.production]
driver = "process"

[env.europe.targets.paris]
driver = "process"
"""

ZSH = """
autoload -U compinit && compinit -u -d "$DUMP"
eval "$(mdeploy completion zsh)"
(( $+_comps[mdeploy] )) && print registered
"""


@pytest.fixture
def environ(tmp_path: Path, project: Path) -> dict[str, str]:
    (project / "modeldeploy.toml").write_text(PROJECT + MORE)
    layout = Layout(project / "registry" / "digits")
    content = b"{}"
    manifest = Descriptor("application/vnd.oci.image.manifest.v1+json", digest_of(content), len(content))
    layout.blobs.write(content, manifest.digest)
    for tag in ("1.0.0.bundle", "staging.bundle", f"sha256-{64 * 'a'}.bundle", "1.0.0"):
        layout.set_tag(tag, manifest, was=None)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "DUMP": str(tmp_path / "zcompdump"), "HOME": str(tmp_path)}


def run(shell: str, script: str, environ: dict[str, str]) -> list[str]:
    if shutil.which(shell) is None:
        lack(shell)
    done = subprocess.run(
        [shell, "-c", script], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert not done.stderr
    return [line.strip() for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("mdeploy dep", ["deploy"]),
        ("mdeploy roll", ["rollback"]),
        ("mdeploy deploy lo", ["local"]),
        ("mdeploy deploy ", ["local", "production"]),
        ("mdeploy logs --rev", ["--revision"]),
        ("mdeploy deploy --strategy blue", ["blue-green"]),
        ("mdeploy completion z", ["zsh"]),
        ("mdeploy deploy --env eu", ["europe"]),
        ("mdeploy deploy --env europe loc", ["local"]),
        ("mdeploy deploy --env europe par", ["paris"]),
        ("mdeploy pull @", ["staging"]),  # bash goes on after the @
        ("mdeploy alias @s", ["staging"]),
        ("mdeploy image --platform linux/ar", ["linux/arm64"]),
    ],
)
def test_bash_completes_commands_targets_options_and_values(
    line: str, offered: list[str], environ: dict[str, str]
) -> None:
    answered = run("bash", BASH, {**environ, "LINE": line})

    assert sorted(word for word in answered if not word.startswith("-") or line.endswith("rev")) == offered


def test_bash_offers_no_target_where_the_project_cannot_be_read(
    environ: dict[str, str], project: Path
) -> None:
    (project / "modeldeploy.toml").write_text("[[[")

    answered = run("bash", BASH, {**environ, "LINE": "mdeploy deploy lo"})

    assert not [word for word in answered if word]


def test_bash_asks_no_registry_in_the_network_for_aliases(environ: dict[str, str], project: Path) -> None:
    file = project / "modeldeploy.toml"
    file.write_text(file.read_text().replace("./registry", "https://registry.example.invalid/team"))

    assert not [word for word in run("bash", BASH, {**environ, "LINE": "mdeploy pull @"}) if word]


def test_the_project_option_decides_whose_targets_are_offered(
    environ: dict[str, str], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "modeldeploy.toml").write_text('[targets.elsewhere]\ndriver = "process"\n')

    answered = run("bash", BASH, {**environ, "LINE": f"mdeploy deploy --project {other} else"})

    assert answered == ["elsewhere"]


def test_fish_completes_targets(environ: dict[str, str]) -> None:
    assert run("fish", FISH, {**environ, "LINE": "mdeploy deploy pro"}) == ["production"]


def test_zsh_takes_the_script(environ: dict[str, str]) -> None:
    assert run("zsh", ZSH, environ) == ["registered"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_printed_and_nothing_else(shell: str, mdeploy: Type) -> None:
    typed = mdeploy("completion", shell)

    assert typed.code == 0
    assert "mdeploy" in typed.out
    assert not typed.err
