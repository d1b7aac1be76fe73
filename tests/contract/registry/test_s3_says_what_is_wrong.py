"""What people read when a bucket does not do what it should, each with what to do about it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from faulty_proxy import proxy
from modeldeploy.errors import ConfigError, RegistryError, RegistryRefused, RegistryUnavailable
from modeldeploy.registry.base import Repository, TagMoved
from modeldeploy.registry.s3 import S3Registry, copying, upload
from modeldeploy.testing import racing
from modeldeploy.testing.content import Content, Counter, cut_at, read
from registry_faults import Fault, faulty
from s3_place import Place, log_in, new_place, serving

BIG = Content(2 * upload.PART + 1)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.fixture
def place(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    log_in(monkeypatch)
    return new_place(endpoint)


@contextmanager
def answering(status: int, code: str, headers: dict[str, str] | None = None) -> Iterator[str]:
    """A server that says the same to everything."""
    body = (
        f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>As S3 says it.</Message></Error>".encode()
    )

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def say(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0" if self.command == "HEAD" else str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    for method in ("GET", "PUT", "POST", "HEAD"):
        setattr(Handler, f"do_{method}", Handler.say)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


ANSWERS = [
    (403, "AccessDenied", "not allowed", "arn:aws:s3:::models"),
    (403, "InvalidAccessKeyId", "access key", "aws sso login"),
    (403, "SignatureDoesNotMatch", "secret key", "aws configure"),
    (400, "ExpiredToken", "expired", "aws sso login"),
    (403, "RequestTimeTooSkewed", "clock", "timedatectl"),
    (404, "NoSuchBucket", "no bucket 'models'", "aws s3 mb s3://models"),
    (400, "IllegalLocationConstraintException", "another region", "registry.region"),
    (418, "Teapot", "Teapot: As S3 says it.", "registry.url"),
]


@pytest.mark.parametrize(("status", "code", "told", "remedy"), ANSWERS)
def test_each_refusal_is_told_with_its_remedy(
    status: int, code: str, told: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(monkeypatch)
    with answering(status, code) as address:
        repository = S3Registry("s3://models/team", endpoint=address).repository("digits")
        with pytest.raises(RegistryRefused) as refused:
            repository.tags()
    assert told in refused.value.message
    assert remedy in (refused.value.hint or "")
    assert "testing" not in refused.value.message, "the access key"


def test_the_region_that_s3_names_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(monkeypatch)
    with answering(400, "AuthorizationHeaderMalformed", {"x-amz-bucket-region": "eu-central-1"}) as address:
        repository = S3Registry("s3://models/team", endpoint=address).repository("digits")
        with pytest.raises(RegistryRefused, match="another region") as refused:
            repository.tags()
    assert refused.value.hint == 'set registry.region = "eu-central-1"'


def test_a_server_that_is_busy_for_good_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(monkeypatch)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    with answering(503, "SlowDown") as address:
        repository = S3Registry("s3://models/team", endpoint=address).repository("digits")
        with pytest.raises(RegistryUnavailable, match="busy"):
            repository.tags()


def test_a_server_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(monkeypatch)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    repository = S3Registry("s3://models/team", endpoint="http://127.0.0.1:1").repository("digits")
    with pytest.raises(RegistryUnavailable, match="does not answer"):
        repository.has_blob(BIG.digest())


def test_a_bucket_that_is_not_there_is_told_by_a_push_too(place: Place) -> None:
    repository = S3Registry("s3://no-such-bucket", endpoint=place.endpoint).repository("digits")
    for content in (Content(5), BIG):
        with pytest.raises(RegistryRefused, match="no bucket 'no-such-bucket'"):
            repository.push_blob(content.blob(), moved=Counter())


def test_a_machine_without_credentials_is_told_how_to_log_in(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(RegistryRefused, match="no credentials") as refused:
        place.open()().repository("digits").tags()
    assert "aws sso login" in (refused.value.hint or "")


def test_a_profile_that_is_not_there_is_told(place: Place) -> None:
    registry = S3Registry("s3://models", profile="nobody", endpoint=place.endpoint)
    with pytest.raises(RegistryRefused, match="no such profile"):
        registry.repository("digits").tags()


@pytest.mark.parametrize(
    "url", ["s3://", "s3://UPPER", "s3:///prefix", "https://host", "s3://ok/../up", "s3://a b"]
)
def test_what_is_no_bucket_is_a_mistake_in_the_project_file(url: str) -> None:
    with pytest.raises(ConfigError):
        S3Registry(url).repository("digits").tags()


def test_without_boto3_the_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['boto3'] = None; sys.modules['botocore'] = None\n"
        "from modeldeploy.registry.s3 import S3Registry\n"
        "from modeldeploy.errors import RegistryRefused\n"
        "try: S3Registry('s3://models').repository('digits').tags()\n"
        "except RegistryRefused as error: print(error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "pip install 'modeldeploy[aws]'\n"


def test_opening_a_registry_loads_no_boto3() -> None:
    program = (
        "import sys; from modeldeploy.registry.s3 import S3Registry\n"
        "S3Registry('s3://models').repository('digits')\n"
        "print([name for name in sys.modules if name.startswith('boto')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_server_without_conditional_writes_is_refused_before_a_tag_is_lost(place: Place) -> None:
    with proxy(place.endpoint, lambda: None, drop=("if-none-match", "if-match")) as address:
        repository = place.open(address)().repository("digits")
        with pytest.raises(RegistryRefused, match="no conditional writes"):
            repository.set_tag("prod", racing.link(repository), was=None)
        assert repository.tag("prod") is None


def test_a_tag_that_is_none_of_ours_is_refused(place: Place) -> None:
    for content in (b"", b"not JSON", b'{"digest": "sha256:0"}', b"[]"):
        place.client.put_object(Bucket=place.bucket, Key="team/digits/tags/prod", Body=content)
        with pytest.raises(RegistryRefused, match="not a tag of mdeploy"):
            place.open()().repository("digits").tag("prod")


def test_a_write_that_was_done_although_its_answer_was_lost_is_no_loss(place: Place) -> None:
    """The same request comes twice: the second time its own work is in the way."""
    with proxy(place.endpoint, lambda: None, twice=("PUT",)) as address:
        repository = place.open(address)().repository("digits")
        first, second = racing.link(repository, by="first"), racing.link(repository, by="second")
        repository.set_tag("prod", first, was=None)
        repository.set_tag("prod", second, was=first.digest)
        with pytest.raises(TagMoved):
            repository.set_tag("prod", first, was=None)


def test_more_tags_than_fit_into_one_answer_are_all_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = place.client
    monkeypatch.setattr("modeldeploy.registry.s3.bucket.PAGE", 7)
    for number in range(20):
        client.put_object(Bucket=place.bucket, Key=f"team/digits/tags/v{number}", Body=b"")
    assert len(place.open()().repository("digits").tags()) == 20


def test_a_blob_that_was_cut_short_in_the_bucket_is_sent_again(place: Place) -> None:
    key = f"team/digits/blobs/{BIG.digest().replace(':', '/')}"
    place.client.put_object(Bucket=place.bucket, Key=key, Body=BIG.read(0, 1000))
    repository = place.open()().repository("digits")
    with pytest.raises(RegistryError):
        read(repository, BIG.descriptor())
    assert repository.push_blob(BIG.blob(), moved=Counter()).how == "sent"
    assert read(repository, BIG.descriptor()) == BIG.read()


def test_parts_of_something_else_are_sent_again(place: Place) -> None:
    """An unfinished upload of this key, with a part of the right size and the wrong bytes."""
    key = f"team/digits/blobs/{BIG.digest().replace(':', '/')}"
    client = place.client
    begun = client.create_multipart_upload(Bucket=place.bucket, Key=key)["UploadId"]
    for number in (1, 2):
        client.upload_part(
            Bucket=place.bucket, Key=key, UploadId=begun, PartNumber=number, Body=bytes(upload.PART)
        )
    repository = place.open()().repository("digits")
    repository.push_blob(BIG.blob(), moved=Counter())
    assert read(repository, BIG.descriptor()) == BIG.read()


def test_a_push_goes_on_although_its_upload_was_aborted(place: Place) -> None:
    repository = place.open()().repository("digits")
    with pytest.raises(KeyboardInterrupt):
        repository.push_blob(BIG.blob(notice=cut_at(2 * upload.PART)), moved=Counter())
    blob = BIG.blob(notice=once(lambda: abort_all(place)))
    counter = Counter()
    repository.push_blob(blob, moved=counter)
    assert counter.total == BIG.size
    assert read(repository, BIG.descriptor()) == BIG.read()


def test_a_copy_of_more_than_one_request_can_take_is_made_in_parts(place: Place) -> None:
    bucket = place.open()()._bucket
    place.client.put_object(Bucket=place.bucket, Key="from", Body=BIG.read())
    copying.copy(bucket, "from", "to", BIG.size, at_once=1000, part=5 << 20)
    assert place.client.get_object(Bucket=place.bucket, Key="to")["Body"].read() == BIG.read()


def test_the_parts_of_any_blob_are_few_enough() -> None:
    for size in (1, upload.PART * 9_000, 100 << 30, 5 << 40):
        part = upload.part_size(size)
        assert -(-size // part) <= 10_000
        assert part >= upload.PART


def once(act: Callable[[], None]) -> Callable[[int], None]:
    waiting = [act]

    def notice(position: int) -> None:
        if waiting and position:
            waiting.pop()()

    return notice


def abort_all(place: Place) -> None:
    found = place.client.list_multipart_uploads(Bucket=place.bucket)
    for entry in found.get("Uploads", ()):
        place.client.abort_multipart_upload(Bucket=place.bucket, Key=entry["Key"], UploadId=entry["UploadId"])


def do(act: str, repository: Repository) -> object:
    """One of the things that are asked of a repository."""
    acts: dict[str, Callable[[], object]] = {
        "tags": repository.tags,
        "tag": lambda: repository.tag("prod"),
        "has_blob": lambda: repository.has_blob(BIG.digest()),
        "push_blob": lambda: repository.push_blob(BIG.blob(), moved=Counter()),
        "read": lambda: read(repository, BIG.descriptor()),
        "manifest": lambda: repository.manifest(BIG.digest()),
        "put_manifest": lambda: repository.put_manifest(b"{}", "application/json"),
    }
    return acts[act]()


@pytest.mark.parametrize("act", ["tags", "tag", "has_blob", "push_blob", "read", "manifest", "put_manifest"])
def test_a_login_portal_is_no_bucket(place: Place, act: str) -> None:
    page = Fault(status=200, headers={"Content-Type": "text/html"}, body=b"<!DOCTYPE html><p>Sign in")
    with faulty(place.endpoint.rpartition("/")[2], lambda *_: page) as before:
        # The library takes a list that it cannot read for an error of the server's.
        with pytest.raises(RegistryUnavailable if act == "tags" else RegistryRefused) as refused:
            do(act, place.open(before.url(""))().repository("digits"))
        assert f"s3://{place.bucket}" in refused.value.message


@pytest.mark.parametrize("act", ["tags", "tag", "manifest"])
def test_an_answer_without_end_is_not_read_to_its_end(place: Place, act: str) -> None:
    headers = {"Content-Length": str(1 << 40), "ETag": '"1"'}
    endless = Fault(status=200, headers=headers, endless=True)
    with faulty(place.endpoint.rpartition("/")[2], lambda *_: endless) as before:
        with pytest.raises(RegistryRefused, match="more than"):
            do(act, place.open(before.url(""))().repository("digits"))
        assert before.received < 64 << 20


def test_a_list_that_breaks_off_is_asked_for_again(place: Place) -> None:
    """The library does not: what broke is an answer that had begun."""
    repository = place.open()().repository("digits")
    repository.set_tag("prod", racing.link(repository), was=None)
    met: list[str] = []

    def plan(method: str, path: str, length: int) -> Fault:
        met.append(path)
        return Fault(cut_answer=40) if len(met) <= 2 else Fault()

    with faulty(place.endpoint.rpartition("/")[2], plan) as before:
        assert list(place.open(before.url(""))().repository("digits").tags()) == ["prod"]
    assert len(met) == 3
