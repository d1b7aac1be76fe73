"""What a process and its children use: memory and processor time, from ``/proc`` or else from ``ps``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from modeldeploy import shell

_KIB = 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a process and its children."""

    rss: int
    """In memory now; what several share is counted for each."""
    pss: int | None
    """What several share is counted once, split among them. None where the system does not tell."""


def tree(root: int) -> list[int]:
    """The process and all below it that are alive."""
    parents = _parents()
    found, fresh = [], [root]
    while fresh:
        found += fresh
        fresh = [child for child, parent in parents.items() if parent in fresh]
    return found


def memory(processes: Iterable[int]) -> Memory | None:
    """Memory of processes together; None where nothing can be found out."""
    found = [one for one in map(_memory, processes) if one]
    if not found:
        return None
    shares = [one.pss for one in found if one.pss is not None]
    return Memory(sum(one.rss for one in found), sum(shares) if len(shares) == len(found) else None)


def cpu_seconds(processes: Iterable[int]) -> float:
    """Processor time that processes have used, in seconds."""
    return sum(map(_cpu, processes))


def machine_seconds() -> float | None:
    """Processor time that all of this machine has used, in seconds; None where it is not told."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, soft, *_ = map(int, fields)
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def _parents() -> dict[int, int]:
    if not Path("/proc/self/stat").exists():
        rows = (line.split() for line in shell.run(["ps", "-axo", "pid=,ppid="]).output.splitlines())
        return {int(process): int(parent) for process, parent in rows}
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            found[int(entry.name)] = int(fields[1])
    return found


def _stat(process: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` behind the name; none of a process that has gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _memory(process: int) -> Memory | None:
    try:
        told = Path(f"/proc/{process}/smaps_rollup").read_text()
        found = re.findall(r"^(Rss|Pss): +(\d+) kB", told, re.MULTILINE)
        sizes = {name: int(size) * _KIB for name, size in found}
        return Memory(sizes["Rss"], sizes["Pss"])
    except (OSError, KeyError):
        pass
    try:
        return Memory(int(shell.run(["ps", "-o", "rss=", "-p", str(process)]).output) * _KIB, None)
    except (shell.ToolFailed, ValueError):
        return None


def _cpu(process: int) -> float:
    if fields := _stat(process):
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    try:
        told = shell.run(["ps", "-o", "time=", "-p", str(process)]).output.strip()
        seconds = 0.0
        for part in re.split("[:-]", told):
            seconds = seconds * 60 + float(part)
    except (shell.ToolFailed, ValueError):
        return 0.0
    return seconds
