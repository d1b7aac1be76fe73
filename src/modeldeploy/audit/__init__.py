"""The audit log: one entry for each thing that changed what is live or may become live, and who did it.

``chain`` is the form (entries, digests, `verify`), ``log`` keeps it in a registry, ``spool`` holds what the
registry has not taken yet, ``telling`` makes one record of the events of a rollout, ``recorder`` is what
commands use. ``timeline`` reads from entries what was live when, ``times`` reads points in time as people
write them.
"""

from __future__ import annotations

from modeldeploy.audit.chain import Broken, Entry, Head, Intact, Record
from modeldeploy.audit.recorder import Recorder
from modeldeploy.audit.telling import KINDS, Telling

__all__ = ["KINDS", "Broken", "Entry", "Head", "Intact", "Record", "Recorder", "Telling"]
