"""What runs inside a bundle: the generated service and the worker that serves any Bento.

`mdeploy build` copies this folder as it is into ``<bundle>/src/mdeploy_serving/``. It imports nothing
else of modeldeploy, only the standard library, numpy, onnxruntime, bentoml, starlette and uvicorn, and
refers to its own modules relatively, because it answers to two names.

The bundle as this package sees it::

    <bundle>/bento.yaml                  service: "mdeploy_service:service", or the user's own entrypoint
    <bundle>/src/mdeploy_service.py      `SERVICE` below, for a generated service
    <bundle>/src/mdeploy_service.json    the signature, see `spec`, for a generated service
    <bundle>/src/model.onnx              named by mdeploy_service.json
    <bundle>/src/mdeploy_serving/        this folder

and the ways to start it::

    PYTHONPATH=<bundle>/src python -m mdeploy_serving.worker --socket PATH    one process, see `worker`
    bentoml serve <bundle>                                                    the stock way

Only reading: the bundle's files are never written to (a launcher sets PYTHONDONTWRITEBYTECODE or
PYTHONPYCACHEPREFIX, so that Python does not either).
"""

SERVICE = '''\
"""The Bento's entrypoint, written by `mdeploy build` from the model's signature."""

from pathlib import Path

from mdeploy_serving.bento.generated import build_service

service = build_service(Path(__file__).parent)
'''
