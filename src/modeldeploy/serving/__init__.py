"""What runs inside a bundle: the worker that serves it, and the service that mdeploy generates.

`mdeploy build` copies this folder as it is into ``<bundle>/src/mdeploy_serving/``. It imports nothing
else of modeldeploy and refers to its own modules relatively, because it answers to two names. A worker's
start is timed, so at first it imports the standard library, numpy and orjson, and everything else
(frameworks, BentoML, uvicorn, gRPC, pyarrow) when it is needed.

The bundle as this package sees it::

    <bundle>/mdeploy.json                name, version and digest, which protocols tell
    <bundle>/bento.yaml                  service: "mdeploy_service:service", or the user's own entrypoint
    <bundle>/src/mdeploy_service.py      `SERVICE` below, for a generated service
    <bundle>/src/mdeploy_service.json    what it serves and how, see `spec`; of a user's own only limits
    <bundle>/src/...                     the models, named by mdeploy_service.json; hooks and other code
    <bundle>/src/mdeploy_serving/        this folder

and the ways to start it::

    PYTHONPATH=<bundle>/src python -m mdeploy_serving.worker --socket PATH    see `worker`
    bentoml serve <bundle>                                                    the stock way, the same answers

A request's way through it::

    server       connections; the regular subset of HTTP/1.1 is read here, all else handed to uvicorn
    exchange     a request that waits for its answer, and the routes: what servers and protocols share
    protocols    from a request to arrays and back: JSON by name, V2, SageMaker, .npy, Arrow, gRPC
    tensors      the rules that all inputs are held to, and the writing of outputs
    engine       runs what waits: at once or joined, in time or not at all
    graph        several models, and the project's hooks, as one model
    runtimes     a module for each framework: loads a model and asks it

Two lanes put these together (`lane` says what one is): `predictions` for a generated service, `bento.lane`
for a user's own. Beside them, `settings` reads the environment, `observe` counts, logs and traces, `problems`
has what can go wrong, with its status, and `describe` is what `mdeploy build` asks of a model in a child.

Only reading: the bundle's files are never written to (a launcher sets PYTHONDONTWRITEBYTECODE or
PYTHONPYCACHEPREFIX, so that Python does not either).
"""

SERVICE = '''\
"""The Bento's entrypoint, written by `mdeploy build` from the model's signature."""

from pathlib import Path

from mdeploy_serving.bento.generated import build_service

service = build_service(Path(__file__).parent)
'''
