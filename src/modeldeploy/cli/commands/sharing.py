"""image, push, pull, verify, alias, keygen, sign."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from modeldeploy import ops
from modeldeploy.cli import report, text
from modeldeploy.cli.commands.bundles import result_of
from modeldeploy.cli.jsonlines import plain
from modeldeploy.cli.session import Answer, Session
from modeldeploy.model import Level
from modeldeploy.oci.descriptor import short

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modeldeploy.ops.imaging import ImageBuilt
    from modeldeploy.ops.naming import Alias


def image(session: Session) -> Answer:
    """Build the image."""
    values = session.values
    with session.telling_of_locks(), session.view() as view:
        built = ops.image(
            session.root,
            values.bundle,
            platforms=values.platform,
            engine=values.engine,
            load=values.load,
            output=Path(values.output).absolute() if values.output else None,
            upgrade=values.upgrade,
            emit=view.show,
        )
    return Answer(built, list(_image(built)))


def _image(built: ImageBuilt) -> Iterator[str]:
    for one in built.platforms:
        header = (one.platform, "LAYER", "SIZE", "")
        rows = [
            (layer.kind, text.short(layer.name, 48), text.size(layer.size), "made" if layer.built else "kept")
            for layer in one.layers
        ]
        yield from text.table(header, rows)
        yield f"{one.platform}  {one.digest}  {text.size(one.size)}"
    yield f"{built.reference}  {built.digest}  ({text.duration(built.seconds)})"
    if built.loaded:
        sent = text.size(built.loaded.sent)
        yield f"{built.loaded.engine} has it: {built.loaded.reference} ({sent} sent)"
    if built.output:
        yield f"written to {built.output}"


def push(session: Session) -> Answer:
    """Send a bundle to the registry."""
    values = session.values
    with session.telling_of_locks(), session.view() as view:
        done = ops.push(session.root, values.bundle, to=values.to, image=values.image, emit=view.show)
    took = text.duration(done.seconds)
    if done.unchanged:
        session.note(f"unchanged: {done.registry} has all of it ({took})")
    else:
        part = f"{text.size(done.sent)} of {text.size(done.size)}"
        session.note(f"sent {part} to {done.registry} in {took}")
    lines = [f"{done.ref}  {done.digest}"]
    if done.image:
        lines.append(f"image  {done.image}")
    result = {**plain(done), "sent": done.sent, "size": done.size}
    return Answer(result, lines)


def pull(session: Session) -> Answer:
    """Fetch a bundle from the registry."""
    values = session.values
    with session.view() as view:
        found = ops.pull(session.root, values.bundle, source=values.source, emit=view.show)
    session.note("unchanged: this bundle was there already" if found.unchanged else f"it is in {found.path}")
    return Answer(result_of(found), [f"{found.ref}  {found.ref.digest}"])


def alias(session: Session) -> Answer:
    """Names that move."""
    values = session.values
    with session.view() as view:
        if values.name is None:
            found = ops.aliases(session.root, emit=view.show)
            rows = [(f"@{one.name}", str(one.bundle), short(one.bundle.digest)) for one in found]
            lines = text.table(("ALIAS", "BUNDLE", "DIGEST"), rows) if rows else ["there is no alias yet"]
            return Answer({"aliases": found}, lines)
        one = ops.alias(session.root, values.name, values.bundle, emit=view.show)
    return Answer(one, list(_alias(one)))


def _alias(one: Alias) -> Iterator[str]:
    before = f" (was {one.previous})" if one.previous and one.previous != one.bundle else ""
    yield f"@{one.name} -> {one.bundle}  {one.bundle.digest}{before}"
    for move in one.history:
        yield f"  since {text.date_time(move.at)}  {move.bundle}  by {text.clean(move.by)}"


def keygen(session: Session) -> Answer:
    """Make a pair of keys."""
    folder = Path(session.values.folder) if session.values.folder else session.root
    pair = ops.keygen(folder, password=lambda: _password(new=True))
    lines = [
        f"{pair.private}  keep it secret, and out of git",
        f"{pair.public}  name it in modeldeploy.toml: [signing] public_keys",
    ]
    return Answer(pair, lines)


def sign(session: Session) -> Answer:
    """Sign what was pushed."""
    values = session.values
    with session.view() as view:
        done = ops.sign(session.root, values.bundle, key=values.key, password=_password, emit=view.show)
    told = [
        f"{one.what:<7} {one.tag}  {short(one.digest)}  {'signed' if one.new else 'was signed before'}"
        for one in done.manifests
    ]
    if done.statements:
        told.append(f"also signed: {', '.join(done.statements)}")
    return Answer(
        done, [*told, f"{done.ref} in {done.registry} is signed with {done.key} ({done.fingerprint})"]
    )


def verify(session: Session) -> Answer:
    """Every byte, and the signatures."""
    with session.view() as view:
        found = ops.verify(session.root, session.values.bundle, emit=view.show)
    errors = sum(finding.level is Level.ERROR for finding in found)
    lines = list(report.findings(found, session.terminal))
    return Answer({"findings": found}, lines, code=5 if errors else 0, ok=not errors)


def _password(*, new: bool = False) -> bytes:
    """The key's password: from the environment, else asked for where there is somebody to ask."""
    from modeldeploy.signing.keyfile import PASSWORD, from_environment

    if PASSWORD in os.environ or sys.stdin is None or not sys.stdin.isatty():
        return from_environment()
    asked = getpass.getpass("Password of the private key: ")
    if new and asked != getpass.getpass("The same again: "):
        from modeldeploy.errors import ConfigError

        raise ConfigError("the two passwords differ; no key was made", hint="mdeploy keygen")
    return asked.encode()
