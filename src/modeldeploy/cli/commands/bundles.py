"""lock, build, test, golden."""

from __future__ import annotations

from pathlib import Path

from modeldeploy import ops
from modeldeploy.cli import text
from modeldeploy.cli.session import Answer, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modeldeploy.bundle.build import Built


def lock(session: Session) -> Answer:
    """Pin the requirements."""
    with session.telling_of_locks(), session.view() as view:
        path = ops.lock(session.root, upgrade=session.values.upgrade, emit=view.show)
    return Answer({"path": path}, [str(path)])


def build(session: Session) -> Answer:
    """Make the bundle."""
    values = session.values
    with session.telling_of_locks(), session.view() as view:
        built = ops.build(session.root, bump=values.bump, upgrade=values.upgrade, emit=view.show)
    session.note("unchanged: this bundle was there already" if built.unchanged else f"built in {built.path}")
    return Answer(result_of(built), [f"{built.ref}  {built.ref.digest}"])


def result_of(bundle: Built) -> dict[str, object]:
    """A bundle on this machine, for ``--json``."""
    return {
        "ref": str(bundle.ref),
        "digest": bundle.ref.digest,
        "path": bundle.path,
        "unchanged": bundle.unchanged,
    }


def test(session: Session) -> Answer:
    """Smoke-test the bundle on this machine."""
    with session.view() as view:
        found = ops.smoke(session.root, ref=session.values.bundle, emit=view.show)
    mark = session.terminal.mark
    lines = [
        f"{mark('done' if check.passed else 'failed'):<2} {'ok' if check.passed else 'failed':<7} "
        f"{check.check:<7}  {text.clean(check.message)}"
        for check in found.checks
    ]
    verdict = "works" if found.passed else "does NOT work"
    lines.append(f"{found.ref} {verdict} on this machine ({text.duration(found.seconds)})")
    return Answer(found, lines, code=0 if found.passed else 4, ok=found.passed)


def golden(session: Session) -> Answer:
    """Record golden samples."""
    values = session.values
    samples = Path(values.samples) if values.samples else None
    with session.view() as view:
        made = ops.golden(session.root, samples=samples, count=values.count, emit=view.show)
    lines = [f"{made.count} golden {'sample is' if made.count == 1 else 'samples are'} in {made.path}"]
    if made.named:
        return Answer(made, [*lines, "next: mdeploy build"])
    named = f'golden = "{made.path.name}"'
    return Answer(
        made, [*lines, f"next: name it, or it is no part of the bundle: [model] {named}; then mdeploy build"]
    )
