"""What can go wrong with a request, each with the HTTP status that it is answered with.

A codec words a problem in its protocol's own form; what it says is the same everywhere: what is wrong,
in which field, what was expected and what came. No message holds a path, a traceback or another
request's data.
"""

from __future__ import annotations


class Problem(Exception):
    """A request that is not answered with a prediction."""

    status = 500

    def __init__(self, error: str, *, field: str | None = None, expected: str = "", got: str = "") -> None:
        super().__init__(error)
        self.error = error
        self.field = field
        """The input to blame; None if no one input is."""
        self.expected = expected
        self.got = got

    def as_json(self) -> dict[str, str | None]:
        """The answer's body: what is wrong, where, what was expected and came; null if not known."""
        expected, got = self.expected or None, self.got or None
        return {"error": self.error, "field": self.field, "expected": expected, "got": got}


class BadInput(Problem):
    """The request is wrong, and will be wrong again."""

    status = 400


class NotFound(Problem):
    """No such model, version or path."""

    status = 404


class TooLarge(Problem):
    """The body is larger than the service reads."""

    status = 413


class UnsupportedMedia(Problem):
    """A content type or encoding that this path does not read."""

    status = 415


class UnsupportedEncoding(UnsupportedMedia):
    """A compressed body."""


class Overloaded(Problem):
    """The queue is full. ``retry_after``: seconds after which it is worth to ask again."""

    status = 503

    def __init__(self, error: str, *, retry_after: int = 1) -> None:
        super().__init__(error)
        self.retry_after = retry_after


class NotReady(Overloaded):
    """The model is not loaded yet, or its service is about to stop."""


class TimedOut(Problem):
    """The deadline passed before the model answered."""

    status = 504


class ModelFailed(Problem):
    """The model raised on input that is in order: the service's fault. The log has the traceback."""
