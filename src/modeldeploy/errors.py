"""Every error that mdeploy raises on purpose, and the exit code that each one becomes.

::

    ModelDeployError            1
      ConfigError               3   the project file, an option's value
      BundleError               4   the model, the lock, the bundle, the image
        RegistryError               the place where bundles are kept
          RegistryUnavailable       did not answer: trying again may help
          RegistryRefused           answered no, or nonsense: trying again will not help
      PreflightError            5   something this machine or target lacks
      TargetError               6
        TargetUnavailable           did not answer: trying again may help
        TargetRefused               answered no: trying again will not help
        TargetDrifted               is not as we left it: somebody else is driving
      LockHeld                  7   another rollout is running on this target
      RolloutRejected          10   rolled back: users are safe on the old revision
      RolloutHeld              11   waits for a decision, traffic stays where it is
      RolloutStuck             12   could not be put right: needs a person now

Usage errors exit with 2, Ctrl-C with 130, and a bug with 1 and a traceback file.
Foreign exceptions are mapped to these at the boundary where they arise and go no further.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from modeldeploy.model import Finding


class ModelDeployError(Exception):
    """What went wrong, where, and what to type next.

    ``message`` says what and where in one sentence, ``hint`` says what to do about it (the next
    command, if there is one), and ``details`` holds facts for ``--json`` and for the lines below
    the message: only JSON values, never a secret.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self, message: str, *, hint: str | None = None, details: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, object] = dict(details or {})


class ConfigError(ModelDeployError):
    """The project file (or an option) says something that cannot be."""

    exit_code = 3


class BundleError(ModelDeployError):
    """The model, its lock, its bundle or its place in the registry is not usable."""

    exit_code = 4


class RegistryError(BundleError):
    """The place where bundles are kept could not do what was asked of it."""


class RegistryUnavailable(RegistryError):
    """The registry did not answer, or said that it is busy, several times in a row."""


class RegistryRefused(RegistryError):
    """The registry answered no, does not have what was asked for, or its content is not what it says."""


class PreflightError(ModelDeployError):
    """A check before the act failed. ``findings`` says which, each with its remedy."""

    exit_code = 5

    def __init__(
        self,
        message: str,
        *,
        findings: Sequence[Finding] = (),
        hint: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.findings = tuple(findings)


class TargetError(ModelDeployError):
    """The target could not do what was asked of it."""

    exit_code = 6


class TargetUnavailable(TargetError):
    """The target did not answer. The engine tries again, with growing pauses."""


class TargetRefused(TargetError):
    """The target answered no. The same call will be refused again."""


class TargetDrifted(TargetError):
    """The target is neither as this rollout left it nor as it wants it."""


class LockHeld(ModelDeployError):
    """Another process is changing this target. ``details`` names it: owner, since, command."""

    exit_code = 7


class RolloutRejected(ModelDeployError):
    """The candidate failed a gate and was rolled back; the stable revision has all traffic."""

    exit_code = 10


class RolloutHeld(ModelDeployError):
    """The rollout stands still where it is and waits for ``resume`` or ``abort``."""

    exit_code = 11


class RolloutStuck(ModelDeployError):
    """Neither forward nor back worked. Traffic is where the message says it is."""

    exit_code = 12
