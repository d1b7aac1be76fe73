"""bundles, inspect, why, scan, gc."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from modeldeploy import ops
from modeldeploy.cli import report, text
from modeldeploy.cli.session import Answer, Session
from modeldeploy.oci.descriptor import short

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modeldeploy.bundle.compare import Differences, FileChange
    from modeldeploy.ops.deployed import Place
    from modeldeploy.ops.inventory import BundleDetails, BundleLine, Collected

_SIGNS = {"added": "+", "removed": "-", "changed": "~", "mode": "~"}


def bundles(_session: Session) -> Answer:
    """What is in the store."""
    found = ops.bundles(None)
    if not found.bundles:
        return Answer(found, ["no bundle is on this machine yet", "next: mdeploy build"])
    header = ("BUNDLE", "DIGEST", "SIZE", "OWN", "BUILT", "COMMIT", "LIVE")
    rows = [_bundle_row(line) for line in found.bundles]
    return Answer(found, [*text.table(header, rows), f"{text.size(found.disk)} together"])


def inspect(session: Session) -> Answer:
    """All that is known of a bundle."""
    with session.view() as view:
        found = ops.inspect(session.root, session.values.bundle, emit=view.show)
    return Answer(found, list(_details(found)))


def why(session: Session) -> Answer:
    """What makes two bundles differ."""
    with session.view() as view:
        found = ops.why(session.root, session.values.a, session.values.b, emit=view.show)
    return Answer(found, list(_differences(found)))


def gc(session: Session) -> Answer:
    """Remove what nothing needs."""
    values = session.values
    root = session.root
    with session.view() as view:
        found = ops.gc(
            root if (root / "modeldeploy.toml").exists() else None,
            dry_run=values.dry_run,
            keep_versions=values.keep,
            keep_days=values.days,
            emit=view.show,
        )
    return Answer(found, list(_collected(found)))


def scan(session: Session) -> Answer:
    """Known vulnerabilities, and code in model files."""
    values = session.values
    database = Path(values.database) if values.database else None
    with session.view() as view:
        found = ops.scan(session.root, values.bundle, database=database, emit=view.show)
    lines = list(report.findings(found.findings, session.terminal))
    verdict = "nothing stands against it" if found.passed else "do NOT deploy it as it is"
    asked = f", asked of {found.source}" if found.source else ""
    lines.append(f"{found.ref}: {found.packages} packages{asked}; {verdict}")
    return Answer(found, lines, code=0 if found.passed else 5, ok=found.passed)


def _bundle_row(line: BundleLine) -> tuple[str, ...]:
    commit = line.commit[:8] + ("+changes" if line.dirty else "")
    return (
        line.ref,
        short(line.digest),
        text.size(line.size),
        text.size(line.disk),
        line.built[:16].replace("T", " ") or "-",
        commit or "-",
        ", ".join(_place(place) for place in line.live) or "-",
    )


def _place(place: Place) -> str:
    return (
        f"{place.project}/{place.target} {place.weight} %"
        if place.weight
        else f"{place.target} {place.state}"
    )


def _details(found: BundleDetails) -> Iterator[str]:
    yield f"{found.ref}  {found.digest}"
    signature = found.signature or {}
    rows: list[tuple[str, str]] = [
        ("service", f"{found.entrypoint}{' (generated)' if found.generated else ''}, {found.framework}"),
        ("as one", found.graph),
        *((kind, _tensors(signature.get(kind, ()))) for kind in ("inputs", "outputs") if signature),
        ("protocols", _protocols(found)),
        ("golden", _golden(found.golden)),
        *_models(found),
        (
            "size",
            f"{text.size(found.size)} in {found.files} files; {text.size(found.disk)} of disk are its own",
        ),
        ("python", f"{found.python} (locked on {found.lock.python})"),
        ("packages", f"{found.lock.packages}, bentoml {found.lock.bentoml}, {short(found.lock.digest)}"),
        ("platforms", ", ".join(found.lock.platforms)),
        ("licence", found.license),
        *(("metadata", f"{key} = {_value(value)}") for key, value in found.metadata.items()),
        ("built", _built(found.built)),
        *(
            ("image", f"{one.digest}  {', '.join(one.platforms)}  {text.size(one.size)}")
            for one in found.images
        ),
        ("aliases", ", ".join(f"@{name}" for name in found.aliases)),
        ("live", ", ".join(_place(place) for place in found.live) or "not on this machine"),
        ("in", str(found.path)),
    ]
    yield from (f"  {name:<10} {text.clean(value)}" for name, value in rows if value)


def _models(found: BundleDetails) -> Iterator[tuple[str, str]]:
    """Several models each with its signature; then the files."""
    several = found.service.get("models", {})
    if len(several) > 1:
        for name in dict.fromkeys((*(found.service["graph"] or {}).get("models", ()), *several)):
            model = several[name]
            sides = " -> ".join(_tensors(model[side]) for side in ("inputs", "outputs"))
            yield "model", f"{name}: {model['framework']}, {model['path']}, {sides}"
    for model in found.models:
        told = f"{model.path}  {text.size(model.size)}  {model.sha256[:12]}"
        yield ("file" if len(several) > 1 else "model"), told


def _protocols(found: BundleDetails) -> str:
    """Of a service of the user's own, only the user knows."""
    if not found.generated:
        return ""
    more = [name for key, name in (("arrow", "Arrow"), ("grpc", "and over gRPC")) if key in found.protocols]
    return ", ".join(["JSON", ".npy", "Open Inference V2", "SageMaker", *more])


def _tensors(tensors: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{one.get('name')}: {one.get('dtype')}[{_shape(one)}]" for one in tensors)


def _shape(tensor: Mapping[str, Any]) -> str:
    return ", ".join(str(size or "*") for size in tensor.get("shape") or ())


def _golden(golden: Mapping[str, Any] | None) -> str:
    if not golden:
        return "none"
    return f"{golden['samples']} samples, rtol {golden['rtol']:g}, atol {golden['atol']:g}"


def _built(facts: Mapping[str, Any]) -> str:
    git, tools = facts.get("git") or {}, facts.get("tools") or {}
    parts = [str(facts.get("built") or "")]
    if git.get("commit"):
        parts.append(f"commit {git['commit'][:12]}{' with changes' if git.get('dirty') else ''}")
    if tools.get("mdeploy"):
        parts.append(f"mdeploy {tools['mdeploy']}")
    return ", ".join(part for part in parts if part)


def _differences(found: Differences) -> Iterator[str]:
    for sign, side in (("-", found.before), ("+", found.after)):
        yield f"{sign} {side.title}  {side.digest or '(not built yet)'}"
    yield found.summary
    for change in found.settings:
        yield f"  setting  {change.key}: {_value(change.before)} -> {_value(change.after)}"
    for package in found.packages:
        how = (
            "other files of it"
            if package.hashes_only
            else f"{package.before or '-'} -> {package.after or '-'}"
        )
        yield f"  package  {package.name}: {how}"
    for file in found.files:
        yield from _file(file)
    for layer in found.images:
        how = (
            "compressed anew" if layer.compression_only else f"{layer.before or '-'} -> {layer.after or '-'}"
        )
        yield f"  image    {layer.platform} {layer.kind} {text.clean(layer.name)}: {how}"
    for fact in found.facts:
        yield f"  built    {fact.key}: {_value(fact.before)} -> {_value(fact.after)} (no part of the content)"
    yield from (f"  note     {note}" for note in found.notes)


def _file(file: FileChange) -> Iterator[str]:
    sizes = " -> ".join(text.size(size) for size in (file.before, file.after) if size is not None)
    yield f"  {file.kind:<8} {_SIGNS[file.change]} {text.clean(file.path)}  {file.change}, {sizes}"
    yield from (f"             {text.clean(line)}" for line in file.diff)


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _collected(found: Collected) -> Iterator[str]:
    rows = [(one.kind, text.clean(one.name), text.size(one.bytes)) for one in found.waste]
    if rows:
        yield from text.table(("WHAT", "NAME", "SIZE"), rows)
    for kept in found.kept:
        yield f"kept: {kept.name}  {short(kept.digest)}  {kept.why}"
    yield from (f"not asked: {sentence}" for sentence in found.unasked)
    did = "would free" if found.dry_run else "freed"
    yield f"{did} {text.size(found.bytes)}" + ("; to do it: mdeploy gc" if found.dry_run and rows else "")
