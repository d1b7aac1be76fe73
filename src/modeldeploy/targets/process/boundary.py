"""Where foreign errors become ours: what the operating system says about a target's files."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from modeldeploy.errors import ModelDeployError, TargetError, TargetRefused, TargetUnavailable
from modeldeploy.files import DiskFull

_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)


@contextmanager
def only_ours(target: str) -> Iterator[None]:
    """Map what goes wrong inside to `TargetUnavailable` or `TargetRefused`."""
    try:
        yield
    except TargetError:
        raise
    except DiskFull as error:
        # Not the candidate's fault: a rollout waits for room, and is held if none comes.
        raise TargetUnavailable(error.message, hint=error.hint) from error
    except ModelDeployError as error:
        raise TargetRefused(error.message, hint=error.hint, details=error.details) from error
    except ValueError as error:
        raise TargetRefused(
            f"the files of target {target} make no sense: {error}",
            hint=f"remove the target (mdeploy destroy {target}), then deploy again",
        ) from error
    except OSError as error:
        if error.errno in _NOT_ALLOWED:
            raise TargetRefused(
                f"cannot change target {target}: {error}",
                hint="make the folder writable, or set MDEPLOY_HOME to one that is",
            ) from error
        raise TargetUnavailable(f"target {target} cannot be reached: {error}") from error
