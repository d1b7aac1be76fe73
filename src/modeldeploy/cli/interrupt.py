"""Ctrl-C in a rollout: the first asks the engine to stop well, the second stops at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def asking_to_stop(tell: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether somebody asked to stop.

    A runner that is cancelled (SIGTERM) and a terminal that is closed (SIGHUP) ask like Ctrl-C does.
    The second time raises KeyboardInterrupt wherever the program is.
    """
    asked = False

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        tell("Interrupted: stopping where it is safe. Ctrl-C again stops at once.")

    # What was ignored when we were started stays so: that is what nohup asks for.
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    former = {number: signal.signal(number, handle) for number in heard}
    try:
        yield lambda: asked
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
