"""The example file, the reference page and the JSON Schema say what the schema says."""

import itertools
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from modeldeploy.config import describe, document
from modeldeploy.config.load import load
from modeldeploy.config.schema import GatesTable, ProcessTargetTable, ProjectFile, RolloutTable

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "modeldeploy.toml.example"
REMEDY = "make it anew: python -m modeldeploy.config.document docs/reference"

FREE = [("env",), ("metadata",), ("ignore",), ("trust",), ("connect",)]
"""Tables whose keys are the user's."""
TABLES = [("models",), ("targets",), ("policy",)]
"""Tables of tables that the user names."""
KEYS = list(describe.every_key())


def example() -> dict[str, Any]:
    """The example with what it shows in place of other keys too: more than one file can say."""
    return tomllib.loads(EXAMPLE.read_text().replace("#! ", ""))


def paths(value: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if not isinstance(value, dict) or at[-1:] in FREE:
        return
    for key, item in value.items():
        name = "NAME" if at in TABLES else key
        yield (*at, name)
        yield from paths(item, (*at, name))


def test_the_example_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "modeldeploy.toml").write_text(EXAMPLE.read_text())
    for name in ("model.onnx", "golden.npz", "service.py", "ca.pem", "cosign.pub", "hooks.py"):
        (tmp_path / name).touch()
    monkeypatch.setenv("REGISTRY_TOKEN", "x")
    only_for_a_bucket = {"profile", "region", "endpoint"}
    found = {finding.message.partition(":")[0] for finding in load(tmp_path).findings()}
    assert found == {f"registry.{key}" for key in only_for_a_bucket}
    assert load(tmp_path, env="production").target("local").replicas == 4


def test_the_example_shows_every_key_and_no_other() -> None:
    assert set(paths(example())) - {(*table, "NAME") for table in TABLES} == {key.path for key in KEYS}


def test_the_example_has_a_comment_above_every_key() -> None:
    lines = [line for line in EXAMPLE.read_text().splitlines() if line]
    bare = [
        line
        for above, line in itertools.pairwise(lines)
        if not line.startswith(("# ", "#:")) and not above.startswith("#")
    ]
    assert bare == []


def test_the_example_shows_what_holds_without_a_key_or_says_that_it_is_one() -> None:
    target = example()["targets"]["local"]
    shown = RolloutTable.model_validate({**target["rollout"], "gates": {}})
    assert shown == RolloutTable()
    assert target["host"] == ProcessTargetTable.model_fields["host"].default
    asked_for_only_if_given = {"p50", "p95", "p99", "max_p95_ratio"}
    gates = {
        key: value for key, value in target["rollout"]["gates"].items() if key not in asked_for_only_if_given
    }
    assert GatesTable.model_validate(gates) == GatesTable()


@pytest.mark.parametrize("key", KEYS, ids=lambda key: ".".join(key.path))
def test_every_key_is_described_with_an_example_that_holds(key: describe.Key) -> None:
    assert re.fullmatch(r"[A-Z`].*\.", key.node["description"]), "a sentence"
    if key.is_table and "examples" not in key.node:
        return
    for value in key.node["examples"]:
        ProjectFile.model_validate(with_value(example(), key.path, value))


def with_value(values: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    table = values
    for name in path[:-1]:
        table = next(iter(table.values())) if name == "NAME" else table[name]
    table[path[-1]] = value
    return values


@pytest.mark.parametrize(
    ("name", "content"), [(document.PAGE, document.page), (document.SCHEMA, document.schema)]
)
def test_what_is_generated_is_up_to_date(name: str, content: Any) -> None:
    assert (REPOSITORY / "docs" / "reference" / name).read_text() == content(), REMEDY


def test_writes_both(tmp_path: Path) -> None:
    document.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [document.SCHEMA, document.PAGE]


def test_the_reference_names_every_key() -> None:
    page = document.page()
    for key in KEYS:
        if key.path[0] in describe.NAMED and len(key.path) == 1:
            assert f"## `[{key.path[0]}.NAME]`" in page
            continue
        assert f"| `{key.path[-1]}` |" in page or f"## `[{'.'.join(key.path)}]`" in page


def test_links_of_the_reference_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)]+)\)", document.page()):
        assert (REPOSITORY / "docs" / "reference" / link).exists()


VALIDATOR = jsonschema.Draft202012Validator(describe.json_schema())


def test_the_json_schema_is_one_and_takes_the_example() -> None:
    jsonschema.Draft202012Validator.check_schema(describe.json_schema())
    VALIDATOR.validate(example())


def leaves() -> list[describe.Key]:
    return [key for key in KEYS if not key.is_table]


odd_values = st.one_of(
    st.integers(-2, 70_000),
    st.floats(-1, 2),
    st.booleans(),
    st.sampled_from(
        ["", "x", "10s", "0.5h", "3.12", "3.9", "canary", "rollback", "a:b", "a b", "process", "é"]
    ),
    st.lists(st.integers(0, 100), max_size=3),
    st.dictionaries(st.sampled_from(["A", "b-c", "rtol"]), st.sampled_from(["x", 0.5]), max_size=2),
)


@given(st.sampled_from(leaves()), odd_values)
@settings(max_examples=200, deadline=None)
def test_what_an_editor_refuses_mdeploy_refuses_too(key: describe.Key, value: Any) -> None:
    values = with_value(example(), key.path, value)
    if not VALIDATOR.is_valid(values):
        with pytest.raises(ValidationError):
            ProjectFile.model_validate(values)


@pytest.mark.parametrize("path", sorted({key.path[:-1] for key in KEYS}), ids=".".join)
def test_an_editor_refuses_unknown_keys_in_every_table(path: tuple[str, ...]) -> None:
    if path in TABLES:
        return
    assert not VALIDATOR.is_valid(with_value(example(), (*path, "unknwon"), 1))


def test_an_editor_takes_the_own_keys_of_another_packages_driver() -> None:
    values = example()
    values["targets"] = {"far": {"driver": "acme", "region": "x", "rollout": {"keep": 2}}}
    assert VALIDATOR.is_valid(values)
    values["targets"]["far"]["rollout"] = {"kep": 2}
    assert not VALIDATOR.is_valid(values)


def test_the_json_schema_is_plain_json() -> None:
    assert json.loads(document.schema()) == describe.json_schema()
