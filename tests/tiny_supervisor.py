"""The real supervisor, with small workers in place of bundles."""

import os
import sys
from pathlib import Path

from modeldeploy.model import RevisionSpec
from modeldeploy.targets.process import supervisor
from modeldeploy.targets.process.lifeline import Command
from modeldeploy.targets.process.provisioning import worker_environment

WORKER = Path(__file__).with_name("tiny_worker.py")


class TinyProvisioning:
    """Preparation is a program that writes a file; ``PREPARE`` in the revision's env changes it."""

    def preparation(self, spec: RevisionSpec) -> Command | None:
        done = Path(spec.bundle_path) / f"prepared-{spec.id}"
        if done.exists():
            return None
        script = spec.env.get("PREPARE", 'touch "$0"')
        return Command(["/bin/sh", "-c", script, str(done)], dict(os.environ))

    def worker(self, spec: RevisionSpec, socket: Path) -> Command:
        argv = [sys.executable, "-S", "-E", str(WORKER), str(socket)]
        return Command(argv, {**worker_environment(), "NAME": spec.id, **spec.env})


if __name__ == "__main__":
    sys.exit(supervisor.main(sys.argv[1:], TinyProvisioning()))
