"""Prometheus' text format, version 0.0.4: what our numbers mean, and how they are written and joined."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FAMILIES: Mapping[str, tuple[str, str]] = {
    "mdeploy_requests_total": ("counter", "Answers by route and HTTP status; 499: the client left before."),
    "mdeploy_request_duration_seconds": (
        "histogram",
        "Seconds from the first byte of a request to its answer.",
    ),
    "mdeploy_inference_duration_seconds": ("histogram", "Seconds of one run of the model."),
    "mdeploy_batch_rows": ("histogram", "Rows of one run of the model."),
    "mdeploy_batch_requests": ("histogram", "Requests that one run of the model answered."),
    "mdeploy_queue_requests": ("gauge", "Requests that wait for the model."),
    "mdeploy_model_failures_total": ("counter", "Requests on which the model raised."),
    "mdeploy_model_load_seconds": (
        "gauge",
        "Seconds of loading and warming a model; of the slowest worker.",
    ),
    "mdeploy_model_info": ("gauge", "What is served; always 1."),
    "mdeploy_workers": ("gauge", "Worker processes that live."),
    "mdeploy_worker_restarts_total": ("counter", "Workers that were started in place of one that ended."),
    "process_resident_memory_bytes": (
        "gauge",
        "Resident memory of all workers, shared pages more than once.",
    ),
    "process_open_fds": ("gauge", "Open file descriptors of all workers."),
    "process_start_time_seconds": ("gauge", "When the oldest worker was started, in Unix seconds."),
}
_ESCAPES = str.maketrans(
    {"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": " ", "\x85": " ", "\u2028": " ", "\u2029": " "}
)
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)")
_PARTS = re.compile(r"_(?:bucket|sum|count)$")
_BUCKET = re.compile(r'(\w+)_bucket\{(.*?),?le="([^"]+)"\}$')


def labels(**named: str) -> str:
    """``{a="b"}``, escaped, on one line whatever a label holds; "" for none."""
    pairs = ",".join(f'{name}="{_one_line(value)}"' for name, value in named.items())
    return f"{{{pairs}}}" if pairs else ""


def exposition(samples: Mapping[str, float]) -> bytes:
    """The text of samples, e.g. ``{'mdeploy_requests_total{route="/predict"}': 3}``, family by family.

    Buckets come as they are counted, each by itself; here they become cumulative, and get their ``_count``.
    """
    families: dict[str, list[str]] = {}
    for line, family in _lines(samples):
        families.setdefault(family, []).append(line)
    text: list[str] = []
    for name, (kind, about) in FAMILIES.items():
        if name in families:
            text += [f"# HELP {name} {about}", f"# TYPE {name} {kind}", *families[name]]
    return ("\n".join(text) + "\n").encode()


def merge(ours: bytes, theirs: bytes) -> bytes:
    """Both, as one valid text; of a family that both have, ours counts.

    ``theirs`` comes from a user's own service: samples without a TYPE line are kept, as Prometheus does.
    """
    known = {line.split(b" ")[2] for line in ours.splitlines() if line.startswith(b"# TYPE ")}
    kept = [line for line in theirs.splitlines() if line.strip() and _family(line) not in known]
    return ours + b"".join(line + b"\n" for line in kept if line.strip() != b"# EOF")


def _lines(samples: Mapping[str, float]) -> Iterable[tuple[str, str]]:
    """Lines of the text, each with its family."""
    cumulative: dict[tuple[str, str], float] = {}
    for name, value in samples.items():
        bucket = _BUCKET.match(name)
        if not bucket:
            yield f"{name} {_number(value)}", _family_of(name)
            continue
        family, inner, end = bucket.groups()
        total = cumulative[family, inner] = cumulative.get((family, inner), 0.0) + value
        yield f"{name} {_number(total)}", family
        if end == "+Inf":
            yield f"{family}_count{f'{{{inner}}}' if inner else ''} {_number(total)}", family


def _family_of(sample: str) -> str:
    match = _SAMPLE.match(sample)
    name = match.group(1) if match else sample
    return name if name in FAMILIES else _PARTS.sub("", name)


def _family(line: bytes) -> bytes:
    """The family of a line that somebody else wrote."""
    text = line.decode(errors="replace")
    if text.startswith(("# HELP ", "# TYPE ")):
        return text.split(" ")[2].encode()
    return _family_of(text).encode()


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _one_line(value: str) -> str:
    return "".join(" " if ord(letter) < 32 and letter != "\n" else letter for letter in value).translate(
        _ESCAPES
    )
