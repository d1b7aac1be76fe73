"""The model alone: ``python loop.py SAMPLE.npy SECONDS`` prints requests a second and latencies in ms."""

import json
import statistics
import sys
import time

import numpy as np
from session import load

session, sample, seconds = load(), np.load(sys.argv[1]), float(sys.argv[2])
for _ in range(20):
    session.run(["y"], {"x": sample})
took: list[float] = []
end = time.perf_counter() + seconds
while (began := time.perf_counter()) < end:
    session.run(["y"], {"x": sample})
    took.append(time.perf_counter() - began)
shares = statistics.quantiles(took, n=100)
print(
    json.dumps(
        {"requests/s": len(took) / sum(took), "p50 ms": shares[49] * 1000, "p99 ms": shares[98] * 1000}
    )
)
