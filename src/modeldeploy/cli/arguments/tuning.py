"""bench, optimize."""

from __future__ import annotations

import argparse

from modeldeploy.cli.arguments.shared import bundle, choice
from modeldeploy.cli.parser import Parser, whole_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def bench(parser: Parser) -> None:
    """The words of ``mdeploy bench``."""
    parser.describe(
        """Starts the bundle on this machine, or takes a server that --url names, and sends it requests at
        one number of connections after the other: requests per second, percentiles of the latency, errors,
        memory, processors used. The inputs are the golden samples; without any, they are made up from the
        signature.

        Each connection waits for its answer before it asks again. With --rate, requests are due at a steady
        rate whatever the server does, and a latency counts from when its request was due.""",
        [
            ("mdeploy bench", "1, 4, 16 and 64 connections"),
            ("mdeploy bench --save bench.html", "with a picture"),
            ("mdeploy bench --rate 500 --concurrency 32", "500 requests a second"),
            ("mdeploy bench --url http://127.0.0.1:8080", "what runs there"),
        ],
        (3, 4, 6),
    )
    bundle(parser)
    add = parser.add_argument
    add(
        "--concurrency",
        metavar="N,N,...",
        type=_numbers,
        help="connections, one level after the other; otherwise 1,4,16,64",
    )
    add("--duration", metavar="TIME", type=_seconds, help="how long to measure each level; otherwise 5s")
    choice(
        parser,
        "--protocol",
        "NAME",
        ("predict", "v2", "v2-binary", "npy"),
        "how to ask: predict, v2, v2-binary or npy; otherwise predict",
    )
    add("--rows", metavar="N", type=whole_number(1), help="samples in each request; otherwise 1")
    add("--rate", metavar="N", type=whole_number(1), help="requests that are due each second")
    add("--url", metavar="URL", help="a server that runs already, such as http://127.0.0.1:8080")
    add("--save", metavar="FILE", help="write a report: .html, .svg or .json")


def optimize(parser: Parser) -> None:
    """The words of ``mdeploy optimize``."""
    parser.describe(
        """Makes other forms of an ONNX model (int8 and fp16 weights, other graph optimisations), tries
        threads and batches, and measures each against the model as it is. Keeps only what answers all
        golden samples within model.tolerance and is quicker or smaller beyond the noise of this machine.

        Writes the choice into modeldeploy.toml, comments kept, and a new model file beside the old one.
        Says how to undo it. Changes no file of yours besides.""",
        [
            ("mdeploy optimize --dry-run", "only the comparison"),
            ("mdeploy optimize --save report.html", "with a picture"),
            ("mdeploy optimize --for size", "the smallest that is exact enough"),
        ],
        (3, 4),
    )
    add = parser.add_argument
    choice(
        parser,
        "--for",
        "AIM",
        ("latency", "throughput", "size"),
        "what counts: latency, throughput or size; otherwise latency",
    )
    add(
        "--max-loss",
        metavar="SHARE",
        type=_share,
        help="share of samples that may get another label, such as 0.01; otherwise 0. Numbers keep to"
        " model.tolerance in any case",
    )
    add("--quick", action="store_true", help="fewer repeats: a first look, with more noise")
    add("--dry-run", action="store_true", help="measure and tell; write nothing into the project")
    add("--save", metavar="FILE", help="write a report: .html, .svg or .json")


def _numbers(word: str) -> tuple[int, ...]:
    read: Callable[[str], int] = whole_number(1)
    return tuple(read(part.strip()) for part in word.split(","))


def _seconds(word: str) -> float:
    from modeldeploy.config import durations

    try:
        return durations.parse(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{word}' is no time such as 5s or 500ms") from error


def _share(word: str) -> float:
    try:
        share = float(word.removesuffix("%")) / (100 if word.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if 0 <= share < 1:
        return share
    raise argparse.ArgumentTypeError(f"'{word}' is no share such as 1% or 0.01")
