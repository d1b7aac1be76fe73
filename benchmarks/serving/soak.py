"""One worker for a long time, under good requests and bad ones: does it grow, does it fail?

``python -m benchmarks.serving.soak --minutes 60``. Asks a bundle's worker at a steady rate, in several
protocols, with every seventh request a wrong one and clients that hang up or reconnect, and writes down
memory, open files and threads every ten seconds. Ends with 1 if an answer was not what it should be.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.client import Client, post
from benchmarks.place import Place
from benchmarks.run import Failed
from benchmarks.serving.contenders import Mdeploy, npy
from benchmarks.serving.models import MODELS, Model

_EVERY = 10.0
_STATUS = slice(9, 12)
_ALLOWED_KB_PER_HOUR = 2048
"""What an allocator may take without anything having leaked: below a hundredth of the worker's memory."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request, and the status that it must be answered with."""

    name: str
    message: bytes
    status: int


@dataclass(frozen=True, slots=True)
class Look:
    """The worker at one moment: seconds since the start, megabytes of its own, open files, threads."""

    at: float
    memory: float
    files: int
    threads: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak, and print what came of it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second (default: %(default)g)")
    given = parser.parse_args(arguments)
    with Place() as place:
        contender, model = Mdeploy(place), MODELS[0]
        with contender.serving(model) as server:
            port = int(server.url.split(":")[2].partition("/")[0])
            told = _soak(port, server.group, kinds(model), given.minutes * 60, given.rate)
    print(json.dumps(told, indent=1))
    grown = isinstance(slope := told["kB per hour"], int) and slope > _ALLOWED_KB_PER_HOUR
    return 1 if told["wrong"] or grown else 0


def kinds(model: Model) -> list[Kind]:
    """Good requests in each protocol, and bad ones of each sort."""
    flat = json.dumps(np.round(model.sample().ravel(), 3).astype(float).tolist())
    tensor = (
        f'{{"name": "x", "datatype": "FP32", "shape": [1, {len(model.sample().ravel())}], "data": {flat}}}'
    )
    good = [
        Kind("json", post(f'{{"x": [{flat}]}}'.encode(), "/predict"), 200),
        Kind("single", post(f'{{"x": {flat}}}'.encode(), "/predict"), 200),
        Kind("v2", post(f'{{"inputs": [{tensor}]}}'.encode(), f"/v2/models/bench-{model.name}/infer"), 200),
        Kind("npy", post(npy(model), "/predict", "application/x-npy"), 200),
        Kind("invocations", post(f'{{"x": [{flat}]}}'.encode(), "/invocations"), 200),
        Kind("metrics", b"GET /metrics HTTP/1.1\r\nhost: soak\r\n\r\n", 200),
    ]
    bad = [
        Kind("not JSON", post(b'{"x": [[1, 2', "/predict"), 400),
        Kind("ragged", post(b'{"x": [[1, 2], [3]]}', "/predict"), 400),
        Kind("NaN", post(b'{"x": [[NaN, 1, 2, 3]]}', "/predict"), 400),
        Kind("deep", post(b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}", "/predict"), 400),
        Kind("no model", post(b"{}", "/v2/models/nobody/infer"), 404),
        Kind("npy that lies", post(npy(model)[:-3], "/predict", "application/x-npy"), 400),
    ]
    return good + good + good + good + good + bad + good


def _soak(port: int, process: int, mix: list[Kind], seconds: float, rate: float) -> dict[str, object]:
    dice = random.Random(4)
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    looks: list[Look] = []
    began = time.monotonic()
    client = _connected(port)
    number = 0
    while (now := time.monotonic() - began) < seconds:
        if not looks or now - looks[-1].at >= _EVERY:
            looks.append(_look(now, process))
            print(f"{now:6.0f} s  {looks[-1].memory:.1f} MB  {number} requests", file=sys.stderr, flush=True)
        kind = dice.choice(mix)
        if dice.random() < 0.01:
            _hang_up(port, kind, dice)
        if dice.random() < 0.02:
            client.socket.close()
            client = _connected(port)
        status = _ask(client, kind.message)
        counts[f"{kind.name} {status}"] += 1
        if status != kind.status:
            wrong.append(f"{kind.name}: {status} instead of {kind.status}")
            client.socket.close()
            client = _connected(port)
        number += 1
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
    client.socket.close()
    looks.append(_look(time.monotonic() - began, process))
    return _told(counts, wrong, looks)


def _connected(port: int) -> Client:
    return Client(("127.0.0.1", port), timeout=30)


def _ask(client: Client, message: bytes) -> int:
    """The status of the answer; 0 where there was none."""
    with suppress(OSError, Failed, ValueError):
        return int(client.ask(message)[_STATUS])
    return 0


def _hang_up(port: int, kind: Kind, dice: random.Random) -> None:
    """Send a part of a request, or all of it, and leave."""
    with _connected(port) as other:
        other.socket.sendall(kind.message[: dice.randrange(1, len(kind.message) + 1)])


def _look(at: float, process: int) -> Look:
    place = Path(f"/proc/{process}")
    files, threads = (len(list((place / folder).iterdir())) for folder in ("fd", "task"))
    return Look(at, _own_megabytes(process), files, threads)


def _own_megabytes(process: int) -> float:
    """What a process holds for itself. Not its share of libraries, which falls as others load them."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"^RssAnon:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise Failed("this system does not tell the anonymous memory of a process")
    return int(found[1]) / 1024


def _told(counts: Counter[str], wrong: list[str], looks: list[Look]) -> dict[str, object]:
    settled = looks[len(looks) // 4 :]
    slope = statistics.linear_regression([look.at for look in settled], [look.memory for look in settled])[0]
    return {
        "seconds": round(looks[-1].at),
        "requests": sum(counts.values()),
        "wrong": wrong[:20],
        "MB first, settled, last": [
            round(looks[0].memory, 1),
            round(settled[0].memory, 1),
            round(looks[-1].memory, 1),
        ],
        "kB per hour": round(slope * 3600 * 1024),
        "open files first, most, last": [looks[0].files, max(look.files for look in looks), looks[-1].files],
        "threads first, last": [looks[0].threads, looks[-1].threads],
        "answers": dict(sorted(counts.items())),
    }


if __name__ == "__main__":
    sys.exit(main())
