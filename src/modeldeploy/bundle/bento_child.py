"""Runs inside a bundle's environment, by path: imports the service and lets BentoML build its Bento.

``python bento_child.py REQUEST ANSWER``: both are JSON files. The request names the folder with the
service's code, the entrypoint, a name and a version, the Bento's folder-to-be and the lock. The answer is
``{"packages": ...}``, packages that the service asks for by itself, or ``{"error": ...}``.

BentoML is given no files: it makes bento.yaml, README.md, the API schemas and the Dockerfile, and mdeploy
puts the code and the models there itself, once. What BentoML makes differently each time is made constant.
Imports nothing of mdeploy: it runs under the bundle's Python, not mdeploy's.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

CREATED = "1980-01-01T00:00:00.000000+00:00"
"""A Bento's creation time is part of its content, so it cannot be the time."""


def main() -> None:
    """Build, and write the answer."""
    request = json.loads(Path(sys.argv[1]).read_text())
    source = request["source"]
    for name in [name for name in os.environ if name.startswith(("BENTOML_CONFIG", "MDEPLOY_"))]:
        del os.environ[name]  # settings of this machine are not the bundle's
    sys.path[0] = source
    os.chdir(source)
    try:
        service = _service(request["entrypoint"])
    except BaseException as error:  # noqa: BLE001  # a service may raise anything, SystemExit too
        answer = {"error": _told(error, source)}
    else:
        answer = _build(service, request)
    Path(sys.argv[2]).write_text(json.dumps(answer))


def _service(entrypoint: str) -> Any:
    """The service, imported with its own errors: BentoML's import would hide where they arose."""
    from bentoml import Service  # in the bundle's environment only

    module_name, _, attribute = entrypoint.partition(":")
    module = importlib.import_module(module_name)
    found = getattr(module, attribute, None)
    if not isinstance(found, Service):
        there = [name for name, value in vars(module).items() if isinstance(value, Service)]
        what = "is no BentoML service" if found is not None else "is not there"
        raise LookupError(  # noqa: TRY004  # it is shown to the user, who wrote a wrong name
            f"{module_name}.{attribute} {what}; services in that module: {', '.join(there) or 'none'}"
        )
    return found


def _build(service: Any, request: dict[str, Any]) -> dict[str, Any]:
    from bentoml import bentos
    from bentoml.images import Image

    asked = (service.image.python_requirements if service.image else "").split("\n")
    if service.image is None:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        image = Image(base_image=f"python:{python}-slim", distro="none", lock_python_packages=False)
        object.__setattr__(service, "image", image)
    bento = bentos.build(
        request["entrypoint"],
        name=request["name"],
        version=request["version"],
        build_ctx=request["source"],
        include=["bentofile.yaml"],  # a file that is not there: BentoML copies nothing
        python={"lock_packages": False},
    )
    shutil.copytree(bento.path, request["bento"], dirs_exist_ok=True)
    _settle(Path(request["bento"]), request["lock"], generated=request["generated"])
    return {"packages": [line.strip() for line in asked if line.strip()]}


def _settle(bento: Path, lock: str, *, generated: bool) -> None:
    """Make the Bento the same each time: its time, its requirements (the lock), this machine's processors."""
    import yaml  # type: ignore[import-untyped]  # BentoML brings it; no stubs where types are checked

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]  # untyped, see above
        """Writes text of many lines as a block: quick to read, for people and for parsers."""

    def text(dumper: Any, value: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    path = bento / "bento.yaml"
    info = yaml.safe_load(path.read_text(encoding="utf-8"))
    info["creation_time"] = CREATED
    for service in info["services"] if generated else ():
        service["config"].pop("traffic", None)  # the generated service reads its limits where it runs
    if info.get("image"):
        # Without hashes: this text is parsed at every start. Images are built from requirements.txt below.
        pins = [line.rstrip(" \\") for line in lock.splitlines() if not line.startswith(" ")]
        info["image"]["python_requirements"] = "\n".join(pins) + "\n"
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(info, stream, Dumper, sort_keys=False, allow_unicode=True, width=1000)
    folder = bento / "env" / "python"
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    (folder / "requirements.txt").write_text(lock)


def _told(error: BaseException, source: str) -> dict[str, Any]:
    """What went wrong in the service's own code, with paths as the project has them."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(source)
    ]
    file, line = (frames[-1].filename, frames[-1].lineno) if frames else ("", None)
    if isinstance(error, SyntaxError) and (error.filename or "").startswith(source):
        file, line = error.filename or "", error.lineno
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    text = re.sub(re.escape(source + os.sep), "", "".join(lines))
    return {
        "type": type(error).__name__,
        "message": str(error).replace(source + os.sep, ""),
        "module": getattr(error, "name", None) if isinstance(error, ImportError) else None,
        "file": os.path.relpath(file, source) if file else None,
        "line": line,
        "traceback": text.strip().splitlines()[-12:],
    }


if __name__ == "__main__":
    main()
