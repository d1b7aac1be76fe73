"""From the project's settings to its registry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from modeldeploy.config.settings import RegistrySettings
from modeldeploy.errors import ConfigError
from modeldeploy.registry.opening import open_registry


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("/srv/registry", "FolderRegistry"),
        ("s3://models/team", "S3Registry"),
        ("https://registry.example.com/team", "RemoteRegistry"),
        ("http://127.0.0.1:5000", "RemoteRegistry"),
    ],
)
def test_each_kind_of_address_has_its_registry(url: str, kind: str, tmp_path: Path) -> None:
    registry = open_registry(RegistrySettings(url, tmp_path))
    assert type(registry).__name__ == kind
    assert url in registry.url


@pytest.mark.parametrize(
    "url",
    ["ftp://host/x", "http://registry.example.com", "https://user:hunter2@host/x", "s3://", "", "~/registry"],
)
def test_another_address_is_refused_without_its_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        open_registry(RegistrySettings(url, tmp_path))
    assert refused.value.hint
    assert "hunter2" not in refused.value.message + (refused.value.hint or "")


def test_a_secret_that_is_not_there_is_named(tmp_path: Path) -> None:
    settings = RegistrySettings(
        "https://host/x", tmp_path, username="ci", password="secret:env:NOT_THERE_AT_ALL"
    )
    with pytest.raises(ConfigError, match="NOT_THERE_AT_ALL"):
        open_registry(settings)


def test_a_folder_loads_nothing_that_other_registries_need() -> None:
    code = (
        "import sys; from pathlib import Path; from modeldeploy.registry.opening import open_registry;"
        "from modeldeploy.config.settings import RegistrySettings;"
        "open_registry(RegistrySettings('/x', Path('/'))).repository('digits').tags();"
        "print({'boto3', 'urllib3', 'cryptography', 'pydantic', 'ssl', 'tarfile'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
