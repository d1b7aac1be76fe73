"""The main job on a real model, narrated: `make demo`.

Works in a temporary folder with a home of its own, on a free port, and leaves nothing running.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from modeldeploy.testing.load import Load, Report

EXAMPLES = Path(__file__).parent


class Demo:
    """A project of its own, and the commands typed into it."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "digits"
        self.environment = {**os.environ, "MDEPLOY_HOME": str(folder / "home")}

    def type(self, command: str, *, ends_with: int = 0) -> None:
        """Type a command, let its output be seen, and insist on its exit code."""
        folder = self.project if self.project.exists() else self.project.parent
        print(f"\n$ {command}", flush=True)
        done = subprocess.run(command.split(), cwd=folder, env=self.environment, check=False)
        if done.returncode != ends_with:
            sys.exit(f"the demo stops here: exit code {done.returncode} instead of {ends_with}")
        if ends_with:
            print(f"(exit code {done.returncode})")

    def ask(self, command: str) -> dict[str, object]:
        """The result of a command with --json."""
        done = subprocess.run(
            [*command.split(), "--json"],
            cwd=self.project,
            env=self.environment,
            check=True,
            capture_output=True,
        )
        result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])["result"]
        return result

    def edit(self, pattern: str, replacement: str) -> None:
        """Edit the project file, as with an editor."""
        file = self.project / "modeldeploy.toml"
        file.write_text(re.sub(pattern, replacement, file.read_text(), flags=re.MULTILINE))


def say(text: str) -> None:
    """A line of narration."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n--- {text}", flush=True)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def first_release(demo: Demo) -> str:
    """From nothing to an endpoint."""
    say("A new project: a digit classifier, trained on real handwriting.")
    demo.type("mdeploy init --template onnx digits")
    port = free_port()
    demo.edit(r"^port = 8080", f"port = {port}")
    demo.edit(r'^soak = "10s"', 'soak = "3s"')
    demo.edit(r"^steps = .*\]", "steps = [10, 50]")
    demo.type("mdeploy check")
    say("Build it: a BentoML bundle, named by the digest of its content. Again without changes: at once.")
    demo.type("mdeploy build")
    demo.type("mdeploy build")
    demo.type("mdeploy test")
    say("First release.")
    demo.type("mdeploy deploy local")
    demo.type("mdeploy predict local --input samples.json")
    return f"http://127.0.0.1:{port}"


def second_version(demo: Demo) -> None:
    """A better model takes over by canary."""
    say("A better model, as a new version. It gets 10 %, then 50 %, then all, if its numbers are good.")
    shutil.copy(EXAMPLES / "digits" / "model-v2.onnx", demo.project / "model.onnx")
    shutil.copy(EXAMPLES / "digits" / "golden-v2.npz", demo.project / "golden.npz")
    demo.type("mdeploy build --bump minor")
    demo.type("mdeploy plan local", ends_with=PLAN_HAS_CHANGES)
    demo.type("mdeploy deploy local")


def bad_version(demo: Demo) -> None:
    """A version that fails a fifth of its requests is caught."""
    say("A third version fails a fifth of its requests. The gate must catch it; users must be safe.")
    service = (EXAMPLES / "faulty" / "service.py").read_text()
    (demo.project / "service.py").write_text(service.replace('FAULT = "none"', 'FAULT = "errors"'))
    demo.edit(r"^\[build\]$", '[service]\nentrypoint = "service:Digits"\n\n[build]\ninclude = ["service.py"]')
    demo.type("mdeploy build --bump patch")
    demo.type("mdeploy deploy local", ends_with=REJECTED)
    demo.type("mdeploy status local")


def back(demo: Demo) -> None:
    """Rollback of a version that passed all gates."""
    say("The second version passed every gate, but somebody wants the first one back. Now.")
    demo.type("mdeploy rollback local")
    demo.type("mdeploy history local")


def tell(report: Report) -> None:
    """What the users saw: the bad version's own errors are answers; anything else was lost."""
    own = sum(count for seen, count in report.failures.items() if f"from {BAD_VERSION}-" in seen)
    say(f"Users sent {report.sent} requests meanwhile; lost: {report.failed - own}. Who answered:")
    for version, answers in sorted(report.versions.items()):
        told = (
            f", {own} of them errors of its own, before it was caught"
            if version.startswith(BAD_VERSION)
            else ""
        )
        print(f"  {version:<18} {answers:>6}{told}")


BAD_VERSION = "1.1.1"
PLAN_HAS_CHANGES = 8
REJECTED = 10


def main() -> None:
    """Tell the whole story, count what users lost, and clean up."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mdeploy-demo-") as folder:
        demo = Demo(Path(folder))
        try:
            endpoint = first_release(demo)
            body = (demo.project / "samples.json").read_bytes()
            say("From here on users send requests, over open connections and new ones, until the end.")
            with Load(endpoint, body, keep_alive=3, fresh=1, pause=0.005) as load:
                second_version(demo)
                bad_version(demo)
                back(demo)
            report = load.stop()
            tell(report)
        finally:
            if (demo.project / "modeldeploy.toml").exists():
                demo.type("mdeploy destroy local --yes")
    say(f"Done in {time.monotonic() - began:.0f} s. Nothing is left running.")


if __name__ == "__main__":
    main()
