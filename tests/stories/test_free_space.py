"""A user frees disk space while the model serves: what runs and what rollback needs stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from modeldeploy import ops
from modeldeploy.errors import BundleError
from story_project import Story

pytestmark = pytest.mark.story


def age(home: Path) -> None:
    """Nobody has used anything for a year."""
    then = time.time() - 365 * 86_400
    for path in (home / "bundles").glob("sha256-*"):
        os.utime(path, (then, then))


def test_what_was_replaced_twice_goes_and_the_rollback_still_works(user: Story, home: Path) -> None:
    user.init()
    user.hurry(steps="[50]", soak="0.2s", requests=1)
    user.edit("patience", '"1s"')
    user.edit("strategy", '"rolling"')
    digests = {}
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        user.edit("version", f'"{version}"')
        digests[version] = user.build()["digest"]
        user.deploy()
    assert user.weights() == {"1.1.0": 0, "1.2.0": 100}
    age(home)
    told = ops.gc(user.folder, keep_versions=0, emit=lambda _: None)
    assert [one.name for one in told.waste if one.kind == "bundle"] == ["digits:1.0.0"]
    assert sorted(one.name for one in told.kept) == ["digits:1.1.0", "digits:1.2.0"]
    with user.users() as load:
        user.ask("rollback local")
    assert user.weights()["1.1.0"] == 100
    assert not load.report.failures
    with pytest.raises(BundleError, match="not on this machine any more"):
        ops.inspect(user.folder, "1.0.0", emit=lambda _: None)
    user.type("destroy local --yes")
    age(home)
    told = ops.gc(user.folder, keep_versions=0, emit=lambda _: None)
    assert sorted(one.name for one in told.waste if one.kind == "bundle") == ["digits:1.1.0", "digits:1.2.0"]
    assert not list((home / "bundles").glob("sha256-*"))
