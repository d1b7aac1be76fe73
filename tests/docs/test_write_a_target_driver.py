"""The code in docs/how-to/write-a-target-driver.md runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fake_place import new_world, spec
from modeldeploy.errors import TargetRefused, TargetUnavailable
from modeldeploy.model import Holder, Traffic
from modeldeploy.target import Target
from modeldeploy.testing import FakeTarget, TargetContract

PAGE = Path(__file__).parents[2] / "docs/how-to/write-a-target-driver.md"
NEW = spec("1.1.0")


class Client:
    """What the page's imaginary platform would have."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name == "launch":
            raise TimeoutError(name)
        return lambda *parts, **named: self.calls.append(name)

    def list(self) -> list[Any]:
        return []


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    kite = ModuleType("kite_sdk")
    kite.__dict__.update(Client=Client, Timeout=TimeoutError, Throttled=OSError, Rejected=ValueError)
    monkeypatch.setitem(sys.modules, "kite_sdk", kite)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, names)
    return names


def test_the_pages_verbs_raise_only_our_errors(page: dict[str, Any]) -> None:
    verbs = page["KiteVerbs"](Client())
    with pytest.raises(TargetUnavailable):
        verbs.create(NEW)
    with pytest.raises(TargetRefused):
        verbs.set_traffic(Traffic({NEW.id: 100}))
    verbs.delete(NEW.id, grace=1.0)


def test_the_pages_contract_is_the_contract(page: dict[str, Any]) -> None:
    assert issubclass(page["TestKite"], TargetContract)


def test_the_pages_crashes_crash(page: dict[str, Any], tmp_path: Path) -> None:
    target = FakeTarget(new_world(tmp_path))

    def deploy(crashing: Target) -> None:
        with crashing.store.lock(Holder("ada@laptop", 1, "mdeploy deploy", 0.0)):
            crashing.create(NEW)

    assert page["crash_points"](deploy, target) == [f"before create {NEW.id}", f"after create {NEW.id}"]
    page["crash"](deploy, target, 0)


def test_the_page_names_every_verb() -> None:
    verbs = {name for name in vars(Target) if not name.startswith("_")} - {"capabilities"}
    text = PAGE.read_text()
    assert sorted(verb for verb in verbs if f"| `{verb}` |" not in text) == []
