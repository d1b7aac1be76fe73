"""Loads one form of a model, compares it with the golden samples, then times inferences when asked to.

``python -I timing_child.py JOB``: first a line with what the comparison gave, or ``{"error": why}``; then for
each line on standard input (``{"rows": 1, "seconds": 0.2}``) one line with the times. A child process that
may crash, in the environment of the tools. Imports nothing of mdeploy but the file beside it.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

# Only for this: what else stands beside this file must not be taken for a package.
sys.path.insert(0, str(Path(__file__).parent))
from forms_child import feeds, limit  # type: ignore[import-not-found]

sys.path.pop(0)

_LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_CHUNK = 64
_ERRORS_ONLY = 3


def main() -> None:
    """Answer until standard input ends."""
    job = json.loads(Path(sys.argv[1]).read_bytes())
    limit(Path(job["model"]), job["limit"])
    try:
        session = _session(job)
        _say(compared(session, job))
    except Exception as error:  # noqa: BLE001  # whatever the runtime says is the answer
        _say({"error": " ".join(str(error).split())[:300] or type(error).__name__})
        return
    for line in sys.stdin:
        asked = json.loads(line)
        _say(_timed(session, job, asked["rows"], asked["seconds"]))


def _session(job: dict[str, Any]) -> Any:
    """As the bundle's service would load it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(
        onnxruntime.GraphOptimizationLevel, _LEVELS[job["graph_optimization"]]
    )
    options.intra_op_num_threads, options.inter_op_num_threads = job["threads"], 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _ERRORS_ONLY
    return onnxruntime.InferenceSession(job["model"], options, providers=["CPUExecutionProvider"])


def compared(session: Any, job: dict[str, Any]) -> dict[str, Any]:
    """How far the answers are from the recorded ones, alone and among others: the worse of both counts.

    A model that is quantised while it runs may answer a row in another way when it stands among others.
    """
    import numpy as np

    with np.load(job["samples"]["path"], allow_pickle=False) as content:
        recorded = {name[7:]: content[name] for name in content.files if name.startswith("output/")}
    total = len(next(iter(recorded.values())))
    wrong, same = np.zeros(total, bool), np.ones(total, bool)
    worst = {"largest": 0.0, "relative": 0.0, "needed": 0.0}
    for rows in (1, _CHUNK) if job["samples"]["stacked"] else (1,):
        got = _answers(session, job["samples"], list(recorded), rows)
        for name, expected in recorded.items():
            _compare(got[name], expected, job, wrong, same, worst)
    return {"samples": total, "failed": int(wrong.sum()), "labels": float(same.mean()), **worst}


def _answers(session: Any, samples: dict[str, Any], names: list[str], rows: int) -> dict[str, Any]:
    import numpy as np

    parts = [session.run(names, feed) for feed in feeds(samples, rows)]
    if samples["stacked"]:
        return {name: np.concatenate([part[at] for part in parts]) for at, name in enumerate(names)}
    return {name: np.stack([part[at] for part in parts]) for at, name in enumerate(names)}


def _compare(
    got: Any, expected: Any, job: dict[str, Any], wrong: Any, same: Any, worst: dict[str, float]
) -> None:
    import numpy as np

    each = (len(expected), -1)
    if got.shape != expected.shape:
        raise ValueError(f"an output has the shape {list(got.shape)}, recorded is {list(expected.shape)}")
    if expected.dtype.kind not in "fc":
        differs = (got != expected).reshape(each).any(1)
        wrong |= differs
        same &= ~differs
        return
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    near = np.isclose(got, expected, rtol=job["rtol"], atol=job["atol"], equal_nan=True)
    wrong |= ~near.reshape(each).all(1)
    if expected.ndim > 1 and expected.shape[-1] > 1:
        same &= (got.argmax(-1) == expected.argmax(-1)).reshape(each).all(1)
    off = np.abs(np.where(np.isfinite(expected) & np.isfinite(got), got - expected, 0.0))
    size = np.abs(np.where(np.isfinite(expected), expected, 0.0))
    worst["largest"] = max(worst["largest"], float(off.max(initial=0.0)))
    worst["relative"] = max(worst["relative"], float((off / np.maximum(size, 1e-12)).max(initial=0.0)))
    worst["needed"] = max(worst["needed"], float((off - job["rtol"] * size).max(initial=0.0)))


def _timed(session: Any, job: dict[str, Any], rows: int, seconds: float) -> dict[str, Any]:
    inputs = _rows(job["samples"], rows)
    turn = cycle(inputs)
    run, clock = session.run, time.perf_counter
    run(None, inputs[0])
    times: list[float] = []
    began = now = clock()
    while now < began + seconds or len(times) < 3:
        feed = next(turn)
        now = clock()
        run(None, feed)
        times.append(clock() - now)
    times.sort()
    middle, high = times[len(times) // 2], times[min(len(times) - 1, int(len(times) * 0.99))]
    return {"p50": middle, "p99": high, "mean": sum(times) / len(times), "count": len(times)}


def _rows(samples: dict[str, Any], rows: int) -> list[dict[str, Any]]:
    """Inputs of just so many rows each, from the first sample again where they run out."""
    import numpy as np

    single = list(islice(feeds(samples), 32 if rows == 1 else max(rows, 32)))
    if not samples["stacked"] or rows == 1:
        return single
    turn = cycle(single)
    batches = [[next(turn) for _ in range(rows)] for _ in range(4)]
    return [{name: np.concatenate([one[name] for one in batch]) for name in batch[0]} for batch in batches]


def _say(told: dict[str, Any]) -> None:
    print(json.dumps(told), flush=True)  # noqa: T201  # stdout is this program's interface


if __name__ == "__main__":
    main()
