"""The ``mdeploy`` program: `main` in a process of its own.

Python's garbage collector runs dozens of times while modules load and once more at the end, and finds
nothing either time. Commands that answer in milliseconds spend a tenth of their time on it.
"""

from __future__ import annotations

import gc
import sys

_FEWER = 100_000
"""Objects made before the collector looks: more than a quick command makes, no matter to a long one."""


def run() -> None:
    """Run the command line of this process, and end it with the command's exit code."""
    gc.set_threshold(_FEWER)
    from modeldeploy.cli.main import main

    code = main()
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    run()
