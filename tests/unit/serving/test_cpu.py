"""How many processors a worker believes it has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modeldeploy.serving import cpu


def group(root: Path, path: str, **files: str) -> None:
    folder = root / "sys/fs/cgroup" / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("cpu_", "cpu.", 1)).write_text(content)


def membership(root: Path, *lines: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture(autouse=True)
def machine_of_sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def test_without_a_limit_all_processors_count(tmp_path: Path) -> None:
    assert cpu.processors(tmp_path) == 16


def test_a_containers_limit_counts_and_is_rounded_up(tmp_path: Path) -> None:
    membership(tmp_path, "0::/")
    group(tmp_path, ".", cpu_max="150000 100000\n")
    assert cpu.processors(tmp_path) == 2


def test_the_smallest_limit_of_the_groups_above_counts(tmp_path: Path) -> None:
    membership(tmp_path, "0::/user.slice/app.scope")
    group(tmp_path, "user.slice", cpu_max="300000 100000")
    group(tmp_path, "user.slice/app.scope", cpu_max="max 100000")
    assert cpu.processors(tmp_path) == 3


def test_the_older_control_groups_count_too(tmp_path: Path) -> None:
    membership(tmp_path, "3:cpu,cpuacct:/docker/abc", "1:memory:/docker/abc")
    group(tmp_path, "cpu/docker/abc", cpu_cfs_quota_us="50000", cpu_cfs_period_us="100000")
    assert cpu.processors(tmp_path) == 1


@pytest.mark.parametrize("content", ["", "nonsense", "max 100000", "-1 100000", "100000 0"])
def test_a_limit_that_says_nothing_is_none(tmp_path: Path, content: str) -> None:
    membership(tmp_path, "0::/")
    group(tmp_path, ".", cpu_max=content)
    assert cpu.processors(tmp_path) == 16


@pytest.mark.parametrize(("workers", "threads"), [(1, 16), (3, 5), (16, 1), (40, 1)])
def test_workers_share_the_processors(workers: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "processors", lambda: 16)
    assert cpu.threads(workers) == threads


def test_memory_is_the_machines_or_the_smallest_limit(tmp_path: Path) -> None:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert cpu.memory(tmp_path) == whole
    membership(tmp_path, "0::/user.slice/app.scope")
    group(tmp_path, "user.slice", **{"memory.max": "50000000\n"})
    group(tmp_path, "user.slice/app.scope", **{"memory.max": "max\n"})
    assert cpu.memory(tmp_path) == 50_000_000
    group(tmp_path, "memory", **{"memory.limit_in_bytes": "30000000"})
    assert cpu.memory(tmp_path) == 30_000_000
