"""A worker that speaks gRPC, and real calls to it."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from serving_bundle import VERSION, grpc_address, plain_bundle, slow_bundle, started
from serving_grpc import ALONE, MESSAGES, Stub, code_of, image
from serving_place import Worker


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slow_bundle(tmp_path_factory.mktemp("slow"))


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    bundle = plain_bundle(tmp_path_factory.mktemp("bundle"))
    running = started(bundle, tmp_path_factory.mktemp("w"), MDEPLOY_MAX_BODY_BYTES="100000")
    yield running
    assert running.stop() == 0


@pytest.fixture
def stub(worker: Worker) -> Iterator[Stub]:
    with grpc.insecure_channel(grpc_address(worker)) as channel:
        yield Stub(channel)


@pytest.fixture
def slow_worker(slow: Path, tmp_path: Path) -> Iterator[Worker]:
    running = started(slow, tmp_path, MDEPLOY_QUEUE="2", MDEPLOY_TIMEOUT="1s")
    yield running
    running.process.kill()
    running.process.wait()


def test_the_service_tells_of_itself(stub: Stub) -> None:
    assert stub.call("ServerLive").live and stub.call("ServerReady").ready
    assert stub.call("ModelReady", name="digits").ready
    assert stub.call("ServerMetadata").name == "digits"
    told = stub.call("ModelMetadata", name="digits", version=VERSION)
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in told.inputs] == [
        ("image", "FP32", [-1, 64])
    ]
    assert list(told.versions) == [VERSION]
    assert [model.state for model in stub.call("RepositoryIndex").models] == ["READY"]
    assert code_of(lambda: stub.call("ModelReady", name="other")) == grpc.StatusCode.NOT_FOUND
    for service in ("", "inference.GRPCInferenceService", "digits"):
        assert stub.call("Check", "grpc.health.v1.Health", service=service).status == 1
    wrong = code_of(lambda: stub.call("Check", "grpc.health.v1.Health", service="other"))
    assert wrong == grpc.StatusCode.NOT_FOUND


def test_grpc_and_http_give_the_same_answer(stub: Stub, worker: Worker) -> None:
    answer = stub.infer(image(1, rows=2))
    probability = np.frombuffer(answer.raw_output_contents[1], "<f4").reshape(2, 10)
    status, said = worker.post("/predict", {"image": [[1] * 64] * 2})
    assert status == 200
    assert np.array_equal(np.array(said["probability"], "f4"), probability)


def test_a_message_that_is_too_large_is_refused(stub: Stub) -> None:
    assert code_of(lambda: stub.infer(image(1, rows=500))) == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_compressed_messages_are_refused(worker: Worker) -> None:
    address = grpc_address(worker)
    with grpc.insecure_channel(address, compression=grpc.Compression.Gzip) as channel:
        assert code_of(lambda: Stub(channel).infer(image(1, rows=100))) == grpc.StatusCode.UNIMPLEMENTED


def test_bytes_that_are_no_message_are_an_invalid_argument(stub: Stub) -> None:
    for method in ("ModelInfer", "ModelReady"):
        call = stub.channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
        assert code_of(lambda call=call: call(b"\xff\xff")) == grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[misc]


def test_reflection_gives_files_from_which_a_client_can_be_made(stub: Stub) -> None:
    from google.protobuf import descriptor_pb2, descriptor_pool

    for package in ("grpc.reflection.v1", "grpc.reflection.v1alpha"):
        request = MESSAGES.classes[f"{package}.ServerReflectionRequest"]
        response = MESSAGES.classes[f"{package}.ServerReflectionResponse"]
        info = stub.channel.stream_stream(
            f"/{package}.ServerReflection/ServerReflectionInfo",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        asked = [
            request(list_services="*"),
            request(file_containing_symbol="inference.GRPCInferenceService.ModelInfer"),
            request(file_containing_symbol="nothing"),
            request(all_extension_numbers_of_type="a"),
        ]
        services, file, nothing, extensions = info(iter(asked))
        names = {service.name for service in services.list_services_response.service}
        assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= names
        told = descriptor_pb2.FileDescriptorProto.FromString(
            file.file_descriptor_response.file_descriptor_proto[0]
        )
        pool = descriptor_pool.DescriptorPool()
        pool.Add(told)
        assert pool.FindServiceByName("inference.GRPCInferenceService").methods_by_name["ModelInfer"]
        assert (nothing.error_response.error_code, extensions.error_response.error_code) == (5, 12)


def test_what_goes_wrong_with_the_model_has_its_code(slow_worker: Worker) -> None:
    with grpc.insecure_channel(grpc_address(slow_worker)) as channel:
        stub = Stub(channel)
        with pytest.raises(grpc.RpcError) as failed:
            stub.infer(image(13), metadata=(("x-request-id", "unlucky"),))
        assert failed.value.code() == grpc.StatusCode.INTERNAL
        assert "thirteen" not in failed.value.details()
        assert ("x-request-id", "unlucky") in [tuple(pair) for pair in failed.value.trailing_metadata()]
        assert "unlucky" in slow_worker.log
        assert code_of(lambda: stub.infer(image(5))) == grpc.StatusCode.DEADLINE_EXCEEDED  # the service's


def test_a_clients_deadline_and_a_full_queue(slow_worker: Worker) -> None:
    with grpc.insecure_channel(grpc_address(slow_worker)) as channel:
        stub = Stub(channel)
        first = stub.future(image(2))
        time.sleep(0.05)
        late = stub.future(image(2), timeout=0.05)
        assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert first.result()
        calls = [stub.future(image(2, rows=65)) for _ in range(6)]  # too many rows to go together
        codes = {call.code() for call in calls}
        assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes
        assert stub.infer(image(1))
    text = slow_worker.get("/metrics")[1].decode()
    route = "/inference.GRPCInferenceService/ModelInfer"
    assert f'mdeploy_requests_total{{route="{route}",status="504"}} 1\n' in text
    assert f'mdeploy_requests_total{{route="{route}",status="503"}}' in text


def test_sigterm_tells_watchers_and_drains(slow: Path, tmp_path: Path) -> None:
    worker = started(slow, tmp_path)
    with grpc.insecure_channel(grpc_address(worker)) as channel, ThreadPoolExecutor(1) as pool:
        stub = Stub(channel)
        health = MESSAGES.classes["grpc.health.v1.HealthCheckResponse"]
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch", response_deserializer=health.FromString)
        seen = watch(b"")
        assert next(seen).status == 1
        answer = stub.future(image(5))
        time.sleep(0.3)
        ended = pool.submit(worker.stop)
        assert [told.status for told in seen] == [2]
        assert answer.result()  # was in flight
        assert ended.result() == 0


def test_many_at_once_are_run_together(worker: Worker) -> None:
    address = grpc_address(worker)

    def ask() -> None:
        with grpc.insecure_channel(address, options=ALONE) as channel:
            for _ in range(20):
                assert Stub(channel).infer(image(1)).outputs

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_socket_that_only_we_may_use(worker: Worker, tmp_path: Path) -> None:
    path = tmp_path / "g.sock"
    bundle = plain_bundle(tmp_path / "b")
    other = Worker(Path(sys.executable), bundle, tmp_path, "--grpc-socket", str(path)).ready()
    assert path.stat().st_mode & 0o777 == 0o600
    with grpc.insecure_channel(f"unix:{path}") as channel:
        assert Stub(channel).infer(image(1)).outputs
    assert other.stop() == 0


def test_the_path_of_a_living_server_is_not_taken_from_it(tmp_path: Path) -> None:
    path, bundle = tmp_path / "g.sock", plain_bundle(tmp_path / "b")
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        worker = Worker(Path(sys.executable), bundle, tmp_path, "--grpc-socket", str(path))
        assert worker.process.wait(timeout=60) == 1
        assert f"another process serves on {path}" in worker.log
    worker = Worker(Path(sys.executable), bundle, tmp_path, "--grpc-socket", str(path)).ready()
    assert worker.stop() == 0


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        worker = Worker(Path(sys.executable), plain_bundle(tmp_path / "b"), tmp_path, "--grpc-port", port)
        assert worker.process.wait(timeout=60) == 1
    assert f"gRPC cannot listen on 127.0.0.1:{port}: is it taken?" in worker.log


def test_two_services_do_not_share_a_port(worker: Worker, tmp_path: Path) -> None:
    port = grpc_address(worker).rpartition(":")[2]
    bundle = plain_bundle(tmp_path / "b")
    other = Worker(Path(sys.executable), bundle, tmp_path, "--grpc-port", port)
    assert other.process.wait(timeout=60) == 1
    assert "is it taken?" in other.log


@pytest.mark.parametrize("where", [("--grpc-port", "0"), ("--grpc-socket", "g.sock")])
def test_several_workers_need_a_port_that_they_can_share(where: tuple[str, str], tmp_path: Path) -> None:
    bundle = plain_bundle(tmp_path / "b")
    worker = Worker(Path(sys.executable), bundle, tmp_path, "--workers", "2", *where)
    assert worker.process.wait(timeout=60) == 1
    assert "2 workers" in worker.log and "expected" in worker.log


def test_several_workers_share_a_port_and_their_statistics(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    bundle, options = plain_bundle(tmp_path / "b"), ("--workers", "2", "--grpc-port", str(port))
    worker = Worker(Path(sys.executable), bundle, tmp_path, *options).ready()
    for _ in range(8):
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=ALONE) as channel:
            assert Stub(channel).infer(image(1)).outputs
    text = worker.get("/metrics")[1].decode()
    assert 'ModelInfer",status="200"} 8\n' in text
    assert "mdeploy_workers 2\n" in text
    assert worker.stop() == 0
