"""The same with a real OCI registry and with S3: killed at random, resumed, and the bundle is the same."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import registry_place
import s3_place
import shipping_child
import small_bundles
from modeldeploy import ops
from modeldeploy.errors import BundleError
from modeldeploy.events import Event
from modeldeploy.model import Level

pytestmark = pytest.mark.story
MODEL = random.Random(1).randbytes(24_000_000)
_S3 = '[registry]\nurl = "{url}"\nendpoint = "{endpoint}"\n'


def ignore(event: Event) -> None:
    del event


class Machines:
    """Machines with a project each, whose registry is the same."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, url: str, endpoint: str = "") -> None:
        self._folder, self._patch, self._url, self._endpoint = folder, monkeypatch, url, endpoint

    def go(self, name: str) -> Path:
        self._patch.setenv("MDEPLOY_HOME", str(self._folder / name / "home"))
        root = small_bundles.project(self._folder / name / "project", self._url)
        if self._endpoint:
            file = root / "modeldeploy.toml"
            text = file.read_text().partition("[registry]")[0]
            file.write_text(text + _S3.format(url=self._url, endpoint=self._endpoint))
        return root


@pytest.fixture(params=["an OCI registry", "S3"])
def machines(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Machines]:
    if request.param == "S3":
        s3_place.log_in(monkeypatch)
        with s3_place.serving() as endpoint:
            place = s3_place.new_place(endpoint)
            yield Machines(tmp_path, monkeypatch, f"s3://{place.bucket}/team", endpoint)
    else:
        with registry_place.registry(tmp_path / "registry") as oci:
            yield Machines(tmp_path, monkeypatch, oci.url)


def _killed(what: str, root: Path, times: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(times):
        child = shipping_child.start(what, root, "1.0.0")
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(chance.uniform(0, 1.2))
        child.send_signal(signal.SIGKILL)
        child.communicate()


def test_killed_at_random_on_both_sides_the_bundle_is_the_same(machines: Machines) -> None:
    here = machines.go("here")
    stored = small_bundles.put(MODEL)
    _killed("push", here, 8, seed=1)
    assert ops.push(here, "1.0.0", emit=ignore).digest == stored.ref.digest
    there = machines.go("there")
    _killed("pull", there, 8, seed=2)
    pulled = ops.pull(there, "1.0.0", emit=ignore)
    assert pulled.ref == stored.ref
    assert (pulled.path / "src/model.onnx").read_bytes() == MODEL
    assert all(finding.level is Level.OK for finding in ops.verify(there, "1.0.0", emit=ignore))


def test_versions_stay_aliases_move_and_only_what_changed_is_sent(machines: Machines) -> None:
    here = machines.go("here")
    first = small_bundles.put(MODEL)
    ops.push(here, "1.0.0", emit=ignore)
    small_bundles.put(MODEL, version="1.1.0", others={"src/service.py": b"answer = 43\n"})
    assert ops.push(here, "1.1.0", emit=ignore).sent < 20_000
    assert ops.push(here, "1.1.0", emit=ignore).unchanged
    ops.alias(here, "prod", "1.0.0", emit=ignore)
    moved = ops.alias(here, "prod", "1.1.0", emit=ignore)
    assert moved.previous == first.ref
    assert [one.bundle.version for one in ops.aliases(here, emit=ignore)] == ["1.1.0"]
    there = machines.go("there")
    assert ops.pull(there, "@prod", emit=ignore).ref == moved.bundle
    small_bundles.put(MODEL[::-1])
    with pytest.raises(BundleError, match=r"with other content .*: src/model\.onnx changed"):
        ops.push(there, "1.0.0", emit=ignore)


def test_of_two_who_push_one_version_at_once_one_is_first(machines: Machines) -> None:
    children = []
    for machine, model in (("here", MODEL), ("there", MODEL[::-1])):
        root = machines.go(machine)
        small_bundles.put(model)
        children.append(shipping_child.start("push", root, "1.0.0"))
    told = [child.communicate(timeout=120)[0].splitlines()[-1] for child in children]
    assert sorted(line.split()[0] for line in told) == ["BundleError", "Pushed"]
    winner = next(line.split()[1] for line in told if line.startswith("Pushed"))
    assert ops.pull(machines.go("elsewhere"), "1.0.0", emit=ignore).ref.digest == winner
