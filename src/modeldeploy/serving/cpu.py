"""How many processors and how much memory we may use: what the machine has, less what a container allows."""

from __future__ import annotations

import math
import os
from pathlib import Path


def threads(workers: int = 1) -> int:
    """Threads for one inference, where so many worker processes share the processors; at least 1."""
    return max(1, processors() // workers)


def processors(root: Path = Path("/")) -> int:
    """Processors that the scheduler gives us, at most the quota of our control groups; at least 1."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(root)
    return max(1, available if quota is None else min(available, math.ceil(quota)))


def memory(root: Path = Path("/")) -> int:
    """Bytes of memory that the machine has, at most the limit of our control groups."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    groups = (*_groups(root), root / "sys/fs/cgroup/memory")
    return min([whole, *(limit for group in groups if (limit := _memory_limit(group)) is not None)])


def _quota(root: Path) -> float | None:
    """The smallest limit, in processors, of our control groups and those above; None without one."""
    limits = [limit for group in _groups(root) if (limit := _limit(group)) is not None]
    return min(limits, default=None)


def _groups(root: Path) -> list[Path]:
    """Folders of the control groups that hold us, of both versions. A container sees only the first."""
    mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/cpu"]
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return []
    found = list(mounts)
    for line in lines:
        _, controllers, path = line.split(":", 2)
        mount = mounts[1] if "cpu" in controllers.split(",") else mounts[0]
        inner = Path(path.lstrip("/"))
        found += [mount / folder for folder in (inner, *inner.parents)]
    return found


def _limit(group: Path) -> float | None:
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # no such group, no limit ("max"), not for us
        return None


def _memory_limit(group: Path) -> int | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        try:
            return int((group / name).read_text())
        except (OSError, ValueError):  # no such group, no limit ("max"), the other version
            continue
    return None
