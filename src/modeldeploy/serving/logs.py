"""Logs: one JSON object a line on stderr, with time (UTC), level, logger, message, and traceback if any."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType

LEVEL = "LOG_LEVEL"
"""Environment variable: debug, info, warning or error."""
_LONGEST = 32 * 1024
"""Characters of a message, and of a traceback."""
_CHATTY = ("bentoml", "uvicorn.error", "uvicorn.asgi")
"""Their reports of each start say nothing that the worker does not say itself."""


class JsonLines(logging.Formatter):
    """One line per record, ASCII only, so that neither a newline nor an odd character breaks a reader.

    ``version`` of the model is part of every line, once it is known; the id of a request, of those that have
    one (``extra={"request_id": ...}``).
    """

    version = ""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _bounded(record.getMessage()),
        }
        if self.version:
            line["model_version"] = self.version
        if request_id := getattr(record, "request_id", ""):
            line["request_id"] = request_id
        if record.exc_info:
            line["traceback"] = _bounded(self.formatException(record.exc_info))
        return json.dumps(line)


def _bounded(text: str) -> str:
    """The beginning and the end of a text: what a model raises may hold all of its input."""
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    return f"{text[:half]} [{len(text) - 2 * half} characters left out] {text[-half:]}"


def tell_version(version: str) -> None:
    """From now on each line of this process says which model's version it serves; "" for none."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, JsonLines):
            handler.formatter.version = version


def set_up() -> None:
    """Send every logger of this process, and Python's warnings, to stderr at ``LOG_LEVEL``."""
    wanted = os.environ.get(LEVEL, "info").strip().upper()
    known = logging.getLevelNamesMapping()
    level = known.get(wanted, logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(capture=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(level if level <= logging.DEBUG else max(level, logging.WARNING))
    if wanted not in known:
        logging.getLogger("mdeploy_serving").warning("%s=%r is no level; using info", LEVEL, wanted)


def tell_of_uncaught() -> None:
    """What nobody catches, in a thread or where Python can raise it to nobody, is logged as all else is."""
    log = logging.getLogger("mdeploy_serving")

    def of_main(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            log.critical("the process ends by an exception", exc_info=(kind, error, trace))

    def of_thread(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, SystemExit):
            name = args.thread.name if args.thread is not None else "?"
            error = args.exc_value or args.exc_type()
            log.error("thread %s ended by an exception", name, exc_info=error)

    def of_nobody(args: sys.UnraisableHookArgs) -> None:
        error = args.exc_value or args.exc_type()
        log.error("%s %r", args.err_msg or "exception ignored in", args.object, exc_info=error)

    sys.excepthook, threading.excepthook, sys.unraisablehook = of_main, of_thread, of_nobody
