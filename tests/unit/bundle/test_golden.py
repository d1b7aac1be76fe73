"""Golden samples: what is compared, how close it must be, and what is said about what is not."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modeldeploy.bundle import npz
from modeldeploy.bundle.golden import Call, GoldenReport, verify
from modeldeploy.bundle.manifest import MANIFEST, Golden, Manifest
from modeldeploy.bundle.signature import Signature, TensorSpec
from modeldeploy.errors import BundleError
from modeldeploy.model import HttpRequest, HttpResponse

SIGNATURE = Signature(
    inputs=(TensorSpec("x", "float32", ("batch", 2)),),
    outputs=(TensorSpec("y", "float32", ("batch", 2)), TensorSpec("label", "int64", ("batch",))),
)
X = np.arange(200, dtype="float32").reshape(100, 2)


def bundle(folder: Path, signature: Signature | None = SIGNATURE, **arrays: Any) -> Path:
    """As much of a bundle as `verify` looks at."""
    name = "golden.json" if "cases" in arrays else "golden.npz"
    if "cases" in arrays:
        (folder / name).write_text(json.dumps(arrays["cases"]))
    else:
        np.savez(folder / name, **{key.replace("__", "/"): value for key, value in arrays.items()})
    manifest = Manifest(
        *("digits", "1.0.0", "onnx", "service:S", (), "3.11", "sha256:0", ()),
        signature=signature,
        golden=Golden(name, 100, rtol=1e-3, atol=1e-5),
    )
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
    return folder


def model(change: Callable[[dict[str, Any]], Any] = lambda fields: fields) -> Call:
    """Answers y = 2x and label = first of x, after a change."""

    def call(request: HttpRequest) -> HttpResponse:
        x = np.array(json.loads(request.body)["x"])
        fields = {"y": (2 * x).tolist(), "label": x[..., 0].astype(int).tolist()}
        return HttpResponse(200, json.dumps(change(fields)).encode())

    return call


def noting(requests: list[HttpRequest]) -> Call:
    """The model, with every request kept."""

    def call(request: HttpRequest) -> HttpResponse:
        requests.append(request)
        return model()(request)

    return call


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    return bundle(tmp_path, input__x=X, output__y=2 * X, output__label=X[:, 0].astype("int64"))


def test_a_bundle_without_samples_has_nothing_to_reproduce(tmp_path: Path) -> None:
    manifest = Manifest("digits", "1.0.0", "onnx", "s:S", (), "3.11", "sha256:0", ())
    (tmp_path / MANIFEST).write_bytes(manifest.to_bytes())
    assert verify(model(), tmp_path) == GoldenReport(passed=True, total=0)


def test_samples_are_sent_many_at_a_time_and_compared(recorded: Path) -> None:
    requests: list[HttpRequest] = []
    report = verify(noting(requests), recorded)
    assert report == GoldenReport(passed=True, total=100)
    assert [(request.method, request.path) for request in requests] == [("POST", "/predict")] * 2


def test_a_difference_is_told_with_place_numbers_and_tolerance(recorded: Path) -> None:
    def bend(fields: dict[str, Any]) -> dict[str, Any]:
        fields["y"][3][1] += 1.0
        return fields

    report = verify(model(bend), recorded)
    assert not report.passed
    assert report.failed == 2
    assert report.failures[0] == "y[3][1]: 15 here, 14 recorded (tolerance 0.014)"
    assert report.failures[1].startswith("y[67][1]: 271 here, 270 recorded")


def test_a_difference_within_the_tolerance_passes(recorded: Path) -> None:
    assert verify(
        model(lambda fields: fields | {"y": (np.array(fields["y"]) * 1.0005).tolist()}), recorded
    ).passed


def test_integers_must_be_the_same(recorded: Path) -> None:
    report = verify(
        model(lambda fields: fields | {"label": [value + (value == 4) for value in fields["label"]]}),
        recorded,
    )
    assert report.failures == ("label[2]: 5 here, 4 recorded",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda fields: {"y": fields["y"]}, "label[0]: not in the answer"),
        (lambda fields: fields | {"y": [[1.0]]}, "y[0]: shape [1, 1] here, [64, 2] recorded"),
        (lambda fields: fields | {"y": "text"}, "y[0]: the answer holds no array of numbers"),
        (lambda fields: fields | {"y": [[1.0], [1.0, 2.0]]}, "y[0]: the answer holds no array of numbers"),
        (lambda _: [], "y[0]: not in the answer"),
    ],
)
def test_answers_of_another_form_are_told(change: Callable[..., Any], said: str, recorded: Path) -> None:
    report = verify(model(change), recorded)
    assert said in report.failures
    assert report.failed == 100


def test_an_error_answer_fails_its_samples_and_is_quoted(recorded: Path) -> None:
    report = verify(lambda _: HttpResponse(500, b"out of memory"), recorded)
    assert report.failures[0] == "samples 0 to 63: answered 500: out of memory"
    assert report.failed == report.total == 100
    assert "is not JSON" in verify(lambda _: HttpResponse(200, b"<html>"), recorded).failures[0]


def test_nan_and_infinity_are_reproduced_by_themselves_only(tmp_path: Path) -> None:
    special = np.array([[np.nan, np.inf], [-np.inf, 0.0]], dtype="float32")
    path = bundle(tmp_path, input__x=X[:2], output__y=special)
    same = [["NaN", "Infinity"], ["-Infinity", 0.0]]
    assert verify(lambda _: HttpResponse(200, json.dumps({"y": same}).encode()), path).passed
    other = [["NaN", "-Infinity"], ["-Infinity", "NaN"]]
    report = verify(lambda _: HttpResponse(200, json.dumps({"y": other}).encode()), path)
    assert len(report.failures) == 2
    assert "y[0][1]: -inf here, inf recorded" in report.failures[0]


def test_no_more_than_ten_sentences_are_told_and_some_of_each_output(recorded: Path) -> None:
    report = verify(
        model(
            lambda fields: {"y": np.zeros((len(fields["y"]), 2)).tolist(), "label": [-1] * len(fields["y"])}
        ),
        recorded,
    )
    assert len(report.failures) == 10
    assert {sentence.split("[")[0] for sentence in report.failures} == {"y", "label"}
    assert report.failed == 100


def test_a_model_with_a_fixed_batch_gets_one_sample_at_a_time(tmp_path: Path) -> None:
    fixed = Signature((TensorSpec("x", "float32", (1, 2)),), (TensorSpec("y", "float32", (1, 2)),))
    x = X.reshape(100, 1, 2)
    path = bundle(tmp_path, fixed, input__x=x, output__y=2 * x)
    requests: list[HttpRequest] = []
    assert verify(noting(requests), path).passed
    assert len(requests) == 100
    assert np.shape(json.loads(requests[0].body)["x"]) == (1, 2)


CASES = [
    {"path": "/double", "body": {"number": 2}, "expect": {"doubled": 4.0, "tags": ["a", 1, True, None]}},
    {"path": "/name", "body": {}, "expect": "digits"},
]


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ({"doubled": 4.0, "tags": ["a", 1, True, None], "took": 0.1}, None),
        ({"doubled": 4, "tags": ["a", 1, True, None]}, None),
        ({"doubled": 4.1, "tags": ["a", 1, True, None]}, "doubled: 4.1 here, 4 recorded (tolerance 0.004)"),
        ({"doubled": 4.0, "tags": ["a", 1, True]}, "tags: 3 entries here, 4 recorded"),
        ({"doubled": 4.0, "tags": ["a", 2, True, None]}, "tags[1]: 2 here, 1 recorded"),
        ({"doubled": 4.0, "tags": ["a", 1, 1, None]}, "tags[2]: 1 here, true recorded"),
        ({"tags": ["a", 1, True, None]}, "doubled is missing"),
        ([], 'the answer: [] here, {"doubled": 4.0, "tags": ["a", 1, true, null]} recorded'),
    ],
)
def test_requests_of_an_own_service_are_compared_key_by_key(
    first: Any, said: str | None, tmp_path: Path
) -> None:
    answers = {"/double": first, "/name": "digits"}
    report = verify(
        lambda request: HttpResponse(200, json.dumps(answers[request.path]).encode()),
        bundle(tmp_path, None, cases=CASES),
    )
    assert report.total == 2
    assert report.failures == ((f"sample 0 (/double): {said}",) if said else ())


def golden(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "golden.npz", **{key.replace("__", "/"): value for key, value in arrays.items()})
    return folder / "golden.npz"


def test_samples_that_fit_the_signature_are_counted_without_numpy(tmp_path: Path) -> None:
    label = X[:, 0].astype("int64")
    assert npz.samples_in(golden(tmp_path, input__x=X, output__y=X, output__label=label), SIGNATURE) == 100


Y = np.zeros((100, 2), "float32")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"input__x": X, "output__z": Y}, "the model has no 'output/z'"),
        ({"input__x": X, "input__x2": X, "output__y": Y}, "no 'input/x2'; did you mean 'input/x'"),
        ({"input__x": X}, "it has no output/NAME"),
        ({"output__y": Y}, "it has no input/NAME"),
        ({"x": X}, "'x' is neither input/NAME nor output/NAME"),
        ({"input__x": X[:50], "output__y": Y}, "do not hold the same number of samples"),
        ({"input__x": X[:0], "output__y": Y[:0]}, "do not hold the same number of samples"),
        (
            {"input__x": np.zeros((100, 3), "float32"), "output__y": Y},
            "shape [100, 3], the model has x: float32",
        ),
        ({"input__x": X.astype(int), "output__y": Y}, "'input/x' holds int, the model has x: float32"),
    ],
)
def test_samples_that_do_not_fit_the_signature_are_refused(
    arrays: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(BundleError) as caught:
        npz.samples_in(golden(tmp_path, **arrays), SIGNATURE)
    assert said in caught.value.message
    assert "mdeploy golden" in (caught.value.hint or "")


def test_files_that_are_no_samples_are_refused(tmp_path: Path) -> None:
    for name, content in {"golden.npz": b"no zip", "golden.json": b"{", "golden.txt": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BundleError, match=name):
            npz.samples_in(tmp_path / name, SIGNATURE)
    with zipfile.ZipFile(tmp_path / "golden.npz", "w") as archive:
        archive.writestr("input/x.npy", b"\x93NUMPY\x01\x00\xff\xff{")
    with pytest.raises(BundleError, match=r"no intact .npz file"):
        npz.samples_in(tmp_path / "golden.npz", SIGNATURE)
    with pytest.raises(BundleError, match="cannot read the golden samples"):
        npz.samples_in(tmp_path / "gone.npz", SIGNATURE)


def test_arrays_of_python_objects_are_refused_unread(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"input/x": np.array([{"a": 1}], dtype=object)}
    np.savez(tmp_path / "golden.npz", **arrays)
    with pytest.raises(BundleError, match=r"has the type \|O; save texts as"):
        npz.samples_in(tmp_path / "golden.npz", SIGNATURE)


@pytest.mark.parametrize(
    "cases", [[], {}, [1], [{"path": "/a", "body": 1}], [{"path": "a", "body": 1, "expect": 1}]]
)
def test_json_samples_of_another_form_are_refused(cases: Any, tmp_path: Path) -> None:
    (tmp_path / "golden.json").write_text(json.dumps(cases))
    with pytest.raises(BundleError, match=r"golden.json does not fit"):
        npz.samples_in(tmp_path / "golden.json", None)
