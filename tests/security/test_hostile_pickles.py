"""Files that run code when they are loaded: what they would do is told, and none of it is done."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from modeldeploy.bundle import pickles
from modeldeploy.bundle.pickles import Candidate, Examined
from modeldeploy.errors import BundleError
from modeldeploy.events import Event


class Runs:
    """Calls something when it is unpickled."""

    def __init__(self, what: Any, *arguments: Any) -> None:
        self.what, self.arguments = what, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.what, self.arguments


EVIL = Runs(os.system, "touch pwned")


@pytest.fixture(autouse=True)
def nothing_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.rglob("pwned"))


def look(tmp_path: Path, content: bytes, name: str = "model.pkl") -> Examined:
    path = tmp_path / name
    path.write_bytes(content)
    found = pickles.examine(path, name)
    assert found is not None
    return found


def worst(found: Examined) -> list[str]:
    return [each.name for each in found.imports if each.safety == "dangerous"]


@pytest.mark.parametrize("protocol", range(6))
def test_a_call_of_the_shell_is_seen_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    found = look(tmp_path, pickle.dumps({"weights": [1.0], "x": EVIL}, protocol=protocol))
    assert (found.level, worst(found)) == ("dangerous", ["posix.system"])
    assert "loading it would use posix.system" in found.told


def roundabout(module: bytes, name: bytes) -> dict[str, bytes]:
    """Ways to import something that a reader of the opcodes' neighbours does not see."""
    text = [b"\x8c" + struct.pack("<B", len(part)) + part for part in (module, name)]
    decoy = b"\x8c\x0bcollections" + b"\x8c\x0bOrderedDict"
    end = b"\x8c\x0dtouch pwned  \x85R."
    return {
        "plain": b"\x80\x04" + text[0] + text[1] + b"\x93" + end,
        "decoys that are taken away": b"\x80\x04" + text[0] + text[1] + decoy + b"00\x93" + end,
        "by the memo": b"\x80\x04" + text[0] + b"\x940" + text[1] + b"\x940h\x00h\x01\x93" + end,
        "memo after a decoy": b"\x80\x04"
        + text[0]
        + decoy[:13]
        + b"0\x940"
        + text[1]
        + b"\x94h\x000h\x00h\x01\x93"
        + end,
        "by numbers of the memo": b"\x80\x04" + text[0] + b"q\x05" + text[1] + b"q\x0700h\x05h\x07\x93" + end,
        "doubled": b"\x80\x04" + text[0] + text[1] + b"2" + b"0\x93" + end,
        "in a frame": b"\x80\x04\x95" + struct.pack("<Q", 40) + text[0] + text[1] + b"\x93" + end,
        "by INST": b"(S'touch pwned'\ni" + module + b"\n" + name + b"\n.",
        "by OBJ": b"(c" + module + b"\n" + name + b"\nS'touch pwned'\no.",
        "by two pickles": pickle.dumps([1, 2]) + b"\x80\x04" + text[0] + text[1] + b"\x93" + end,
        "by NEWOBJ": b"\x80\x02c" + module + b"\n" + name + b"\nU\x0btouch pwned\x85\x81.",
    }


@pytest.mark.parametrize("way", roundabout(b"os", b"system"))
def test_a_call_that_is_put_together_in_a_roundabout_way_is_seen(tmp_path: Path, way: str) -> None:
    for module, name in ((b"os", b"system"), (b"builtins", b"exec"), (b"builtins", b"__import__")):
        found = look(tmp_path, roundabout(module, name)[way])
        assert found.level == "dangerous", way
        assert f"{module.decode()}.{name.decode()}" in worst(found)


MODULES = [
    ("subprocess", "Popen"),
    ("importlib", "import_module"),
    ("importlib.util", "find_spec"),
    ("marshal", "loads"),
    ("joblib", "load"),
    ("dill", "loads"),
    ("pandas", "read_pickle"),
    ("runpy", "run_path"),
    ("socket", "create_connection"),
    ("http.client", "HTTPConnection"),
    ("builtins", "getattr"),
    ("numpy", "load"),
    ("os.path", "join"),
]


@pytest.mark.parametrize(("module", "name"), MODULES)
def test_what_runs_code_or_reaches_out_is_dangerous(tmp_path: Path, module: str, name: str) -> None:
    found = look(tmp_path, f"c{module}\n{name}\n.".encode())
    assert worst(found) == [f"{module}.{name}"]


def test_a_name_that_is_made_while_loading_is_dangerous(tmp_path: Path) -> None:
    found = look(tmp_path, b"\x80\x04]\x8c\x06system\x93.")
    assert (found.level, worst(found)) == ("dangerous", ["?.?"])


BROKEN = [
    b"\x80\x04cos\nsystem\n",
    b"\x80\x04I0x10\n0cos\nsystem\n(S'touch pwned'\ntR.",
    b"I0x10\n0cos\nsystem\n(S'touch pwned'\ntR.",
    b"\x80\x04" + b"\xff" * 100,
    b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60),
    b"\x80\x04h\x05h\x06\x93.",
    b"\x80\x04000.",
    b"\x80\x04" + b"(" * 100_000 + b"t" * 200_000,
    b"",
]


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_a_pickle_that_cannot_be_followed_to_its_end_is_dangerous(tmp_path: Path, content: bytes) -> None:
    assert look(tmp_path, content).level == "dangerous"


COMPRESSIONS: list[Callable[[bytes], bytes]] = [gzip.compress, bz2.compress, lzma.compress, zlib.compress]


@pytest.mark.parametrize("compress", COMPRESSIONS, ids=["gzip", "bz2", "xz", "zlib"])
def test_what_is_compressed_is_seen(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    found = look(tmp_path, compress(pickle.dumps(EVIL)), "model.joblib")
    assert worst(found) == ["posix.system"]


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def test_what_is_in_an_archive_is_seen_however_deep(tmp_path: Path) -> None:
    evil = pickle.dumps(EVIL)
    assert worst(look(tmp_path, zipped({"archive/data.pkl": evil}), "model.pt")) == ["posix.system"]
    assert worst(look(tmp_path, zipped({"archive/innocent": evil}), "model.pt")) == ["posix.system"]
    inner = zipped({"deep.zip": zipped({"data.pkl": evil})})
    assert worst(look(tmp_path, zipped({"outer.zip": inner}), "a.zip")) == ["posix.system"]
    assert look(tmp_path, zipped({"one.zip": zipped({"two.zip": inner})}), "b.zip").level == "suspicious"


def test_two_members_of_one_name_are_both_seen(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(EVIL))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("data.pkl", pickle.dumps([1]))
    assert look(tmp_path, out.getvalue(), "model.pt").level == "dangerous"


def test_bombs_are_told_and_do_not_go_off(tmp_path: Path) -> None:
    content = zipped({"data.pkl": bytes(100 << 20)})
    found = look(tmp_path, content, "model.pt")
    assert found.level == "dangerous"
    bomb = b"\x80\x04B" + struct.pack("<I", 100 << 20) + bytes(100 << 20) + b"."
    found = look(tmp_path, zlib.compress(bomb, 9), "model.joblib")
    assert found.level == "dangerous"
    assert any("bomb" in reason for reason in found.reasons)


def test_arrays_of_objects_are_pickles(tmp_path: Path) -> None:
    evil = np.array([EVIL], dtype=object)
    np.save(tmp_path / "evil.npy", evil)
    np.savez(tmp_path / "evil.npz", fine=np.zeros(3), evil=evil)
    for name in ("evil.npy", "evil.npz"):
        found = pickles.examine(tmp_path / name, name)
        assert found is not None
        assert worst(found) == ["posix.system"]


def test_arrays_of_numbers_are_not(tmp_path: Path) -> None:
    np.save(tmp_path / "fine.npy", np.zeros(3))
    assert pickles.examine(tmp_path / "fine.npy", "fine.npy") is None


def test_code_behind_an_array_of_joblib_is_seen(tmp_path: Path) -> None:
    """Arrays lie raw between the opcodes there: who stops at them does not see what comes after."""
    fortran = np.asfortranarray(np.random.default_rng(0).random((30, 7)))
    for compress in (0, 3):
        joblib.dump([np.arange(100), fortran, EVIL], tmp_path / "evil.joblib", compress=compress)
        found = pickles.examine(tmp_path / "evil.joblib", "evil.joblib")
        assert found is not None
        assert worst(found) == ["posix.system"]
        (tmp_path / "evil.joblib").unlink()


def test_models_of_scikit_learn_are_followed_to_their_end(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).random((60, 4))
    answers = (inputs[:, 0] > 0.5).astype(int)
    for model in (LogisticRegression(), RandomForestClassifier(3)):
        model.fit(inputs, answers)
        joblib.dump(model, tmp_path / "model.joblib")
        found = pickles.examine(tmp_path / "model.joblib", "model.joblib")
        assert found is not None
        assert (found.level, found.reasons) == ("suspicious", ())
        assert all(each.name.startswith("sklearn.") for each in found.imports if each.safety == "suspicious")


def test_plain_data_is_innocuous(tmp_path: Path) -> None:
    found = look(tmp_path, pickle.dumps({"labels": ["a", "b"], "mean": np.zeros(3), "seen": {1, 2}}))
    assert found.level == "innocuous"


def test_layers_of_keras_that_are_code_are_seen(tmp_path: Path) -> None:
    layer = {"class_name": "Lambda", "config": {"function": {"class_name": "__lambda__"}}}
    content = zipped({"config.json": json.dumps({"layers": [layer]}).encode()})
    assert look(tmp_path, content, "model.keras").level == "dangerous"
    head = b"\x89HDF\r\n\x1a\n" + bytes(1 << 20)
    text = json.dumps({"class_name": "Lambda"}).encode()
    assert look(tmp_path, head + text + bytes(1000), "model.h5").level == "dangerous"
    assert look(tmp_path, head, "fine.h5").level == "innocuous"
    own = json.dumps({"class_name": "Mine", "module": "evil.layers"}).encode()
    assert look(tmp_path, zipped({"config.json": own}), "own.keras").level == "suspicious"


def test_damaged_archives_are_suspicious(tmp_path: Path) -> None:
    whole = zipped({"data.pkl": pickle.dumps([1]), "weights": bytes(1000)})
    assert look(tmp_path, whole[:-30], "model.pt").level in ("suspicious", "dangerous")
    assert look(tmp_path, b"7z\xbc\xaf\x27\x1c" + bytes(50), "model.7z").level == "suspicious"


def test_a_file_that_breaks_whoever_looks_is_dangerous(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(pickles, "SECONDS", 1)
    endless = b"\x80\x04" + b"]" + b"20" * 4_000_000 + b"."
    assert look(tmp_path, endless).level == "dangerous"


def test_names_are_shown_without_what_would_change_the_screen(tmp_path: Path) -> None:
    found = look(tmp_path, b"cos\n\x1b[2Jsystem\n.")
    assert all(name.isprintable() for name in worst(found))


def test_the_file_that_is_sure_to_be_loaded_is_looked_at_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "model.weights"
    path.write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    assert pickles.examine(path, "model.weights") is None
    found = pickles.examine(path, "model.weights", sure=True)
    assert found is not None
    assert found.level == "dangerous"
    path.write_bytes(b"binf" + bytes(1000))
    assert pickles.examine(path, "model.weights", sure=True) is None


def test_a_build_refuses_what_is_dangerous_and_warns_of_what_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(EVIL))
    (tmp_path / "own.pkl").write_bytes(b"cmycode.models\nForest\n.")
    told: list[Event] = []
    with pytest.raises(BundleError, match=r"evil.pkl is dangerous to load: .*posix.system") as refused:
        pickles.insist([Candidate("evil.pkl", tmp_path / "evil.pkl")], trust={}, emit=told.append)
    assert '[scan.trust] "evil.pkl" = ' in (refused.value.hint or "")
    both = [Candidate(name, tmp_path / name) for name in ("evil.pkl", "own.pkl")]
    pickles.insist(both, trust={"evil.pkl": "an exhibit"}, emit=told.append)
    assert [event.message for event in told] == [
        "own.pkl can run code when it is loaded: loading it would use mycode.models.Forest"
    ]


def test_looking_imports_nothing_that_could_run_the_file() -> None:
    program = (
        "import sys, modeldeploy.bundle.pickles; print({'pickle', 'joblib', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
