"""A project file that cannot be read: a policy in it is not passed over, and nothing else is held up."""

from __future__ import annotations

from pathlib import Path

import pytest

from modeldeploy.audit import Recorder
from modeldeploy.errors import ConfigError
from modeldeploy.model import BundleRef
from modeldeploy.ops.evidence import insist

BUNDLE = BundleRef("digits", "1.0.0", "sha256:" + "a" * 64)
BROKEN = '[project]\nname = "digits"\nversion = 7\n[targets.prod]\n[targets.staging]\n'


@pytest.mark.parametrize(
    ("policy", "refused"),
    [
        ("", False),
        ('[policy.prod]\nfrom = ["staging"]\n', True),
        ('[policy]\nprod = { from = ["staging"] }\n', True),
        ("[env.eu.policy.prod]\n", True),
        ('[policy.staging]\nrequire = ["test"]\n', False),
    ],
)
def test_a_policy_that_may_be_there_refuses(*, policy: str, refused: bool, tmp_path: Path) -> None:
    (tmp_path / "modeldeploy.toml").write_text(BROKEN + policy)

    def no_registry() -> None:
        raise AssertionError

    log = Recorder("digits", None, no_registry, command="mdeploy resume", emit=lambda _: None)  # type: ignore[arg-type]  # never asked
    if refused:
        with pytest.raises(ConfigError):
            insist(tmp_path, "prod", BUNDLE, tmp_path, log)
    else:
        assert insist(tmp_path, "prod", BUNDLE, tmp_path, log) == ()
