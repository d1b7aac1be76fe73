"""A bundle goes into a bucket of S3 on one machine and comes out of it on another."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundle_place import Told, put
from modeldeploy import ops
from modeldeploy.bundle.store import BundleStore
from s3_place import log_in, new_place, serving

pytestmark = pytest.mark.story


def test_what_was_pushed_is_pulled_by_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(monkeypatch)
    with serving() as endpoint:
        place = new_place(endpoint)
        root = tmp_path / "project"
        root.mkdir()
        (root / "model.onnx").write_bytes(b"")
        (root / "modeldeploy.toml").write_text(
            '[project]\nname = "digits"\nversion = "1.0.0"\n[model]\npath = "model.onnx"\n'
            f'[registry]\nurl = "s3://{place.bucket}/team"\nendpoint = "{endpoint}"\n'
            '[targets.local]\ndriver = "process"\nport = 8080\n'
        )
        here = put(BundleStore(), weights=bytes(20 << 20))

        assert ops.push(root, "digits:1.0.0", emit=Told()).sent > 20 << 20
        again = ops.push(root, "digits:1.0.0", emit=Told())
        assert (again.sent, again.unchanged) == (0, True)
        ops.alias(root, "prod", "digits:1.0.0", emit=Told())

        monkeypatch.setenv("MDEPLOY_HOME", str(tmp_path / "another machine"))
        pulled = ops.pull(root, "@prod", emit=Told())
        assert pulled.path != here
        assert pulled.path.name == here.name
        assert BundleStore().check(pulled.path, full=True)
        assert [entry.kind for entry in ops.audit(root).entries] == ["alias", "push"]
