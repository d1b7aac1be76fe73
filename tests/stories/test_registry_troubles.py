"""A registry across a network that does what networks do: users lose nothing and are told what to type."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

import pytest

from modeldeploy.errors import ModelDeployError, RegistryRefused, RegistryUnavailable
from modeldeploy.oci.descriptor import Blob, Descriptor
from modeldeploy.registry.base import TagMoved
from modeldeploy.registry.remote import RemoteRegistry, RemoteRepository
from modeldeploy.registry.remote.patience import Patience
from modeldeploy.registry.remote.uploads import PIECE
from modeldeploy.testing import racing
from modeldeploy.testing.content import MANIFEST, Content, manifest_of
from registry_faults import THROUGH, Fault, Plan, Proxy, faulty
from registry_place import PASSWORD, USER, Place, helper, login, registry
from registry_tokens import IDENTITY, Tokens, token_server

pytestmark = pytest.mark.story

BIG = Content(3 * PIECE + 12_345)
SMALL = Content(70_001)
HASTY = Patience(tries=6, first=0.01, longest=0.05, strangers=3)


@pytest.fixture(autouse=True)
def _nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is logged in anywhere."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def proxy(place: Place) -> Iterator[Proxy]:
    with faulty(place.host) as running:
        yield running


def opened(url: str, name: str = "digits", **settings: object) -> RemoteRepository:
    return RemoteRegistry(url, patience=HASTY, **settings).repository(name)  # type: ignore[arg-type]


def still(_: int) -> None:
    """Nobody watches the bytes."""


def read(repository: RemoteRepository, descriptor: Descriptor, start: int = 0) -> bytes:
    with repository.open_blob(descriptor, start=start) as stream:
        return stream.read()


def once(method: str, path: str, fault: Fault, times: int = 1) -> Plan:
    """A plan that lets the first requests of that kind meet a fault."""
    left = [times]

    def plan(its_method: str, its_path: str, length: int) -> Fault:
        if left[0] and its_method == method and path in its_path:
            left[0] -= 1
            return fault
        return THROUGH

    return plan


def always(method: str, path: str, fault: Fault) -> Plan:
    return once(method, path, fault, times=1_000_000)


# -- logging in -------------------------------------------------------------------------------------------


def exercise(repository: RemoteRepository) -> None:
    """All that a push and a pull do."""
    repository.push_blob(BIG.blob(), moved=still)
    there = racing.link(repository)
    repository.set_tag("1.0.0", there, was=None)
    assert list(repository.tags()) == ["1.0.0"]
    assert repository.tag("1.0.0") == there
    assert read(repository, BIG.descriptor()) == BIG.read()


def test_a_password_from_the_settings(tmp_path: Path) -> None:
    with registry(tmp_path / "r", auth="basic") as place:
        exercise(opened(place.url, username=USER, password=PASSWORD))


def test_a_password_from_docker_login(tmp_path: Path) -> None:
    with registry(tmp_path / "r", auth="basic") as place:
        login(tmp_path / ".docker", place.host)
        exercise(opened(place.url))


def test_without_a_login_one_is_asked_for_and_a_wrong_one_is_told_apart(tmp_path: Path) -> None:
    with registry(tmp_path / "r", auth="basic") as place:
        with pytest.raises(RegistryRefused, match="wants a login") as refused:
            opened(place.url).push_blob(SMALL.blob(), moved=still)
        assert f"docker login {place.host}" in str(refused.value.hint)
        with pytest.raises(RegistryRefused, match="does not accept the password") as refused:
            opened(place.url, username=USER, password="hunter2").tags()
        assert "hunter2" not in repr(refused.value) + str(refused.value.details) + str(refused.value.hint)


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[Tokens]:
    with token_server(tmp_path / "tokens") as running:
        yield running


@pytest.fixture
def guarded(tmp_path: Path, tokens: Tokens) -> Iterator[Place]:
    with registry(tmp_path / "guarded", auth="bearer", token=tokens) as running:
        yield running


def test_a_token_is_fetched_once_for_what_it_allows(guarded: Place, tokens: Tokens) -> None:
    exercise(opened(guarded.url, username=USER, password=PASSWORD))
    name = "repository:team/digits"
    assert sorted(tokens.asked) == [[f"{name}:delete,pull,push"], [f"{name}:pull"], [f"{name}:pull,push"]]


def test_an_identity_token_is_exchanged(tmp_path: Path, guarded: Place, tokens: Tokens) -> None:
    (tmp_path / ".docker").mkdir()
    entry = {"auth": "PHRva2VuPjo=", "identitytoken": IDENTITY}
    (tmp_path / ".docker/config.json").write_text(json.dumps({"auths": {guarded.host: entry}}))
    exercise(opened(guarded.url))
    assert set(tokens.ways) == {"POST somebody"}


def test_a_credential_helper_is_asked(
    tmp_path: Path, guarded: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = json.dumps({"Username": USER, "Secret": PASSWORD})
    helper(tmp_path / "bin", "test", f"echo '{answer}'", monkeypatch)
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(json.dumps({"credHelpers": {guarded.host: "test"}}))
    exercise(opened(guarded.url))


def test_a_helper_that_is_not_there_is_named_when_it_is_missed(tmp_path: Path, guarded: Place) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(json.dumps({"credsStore": "desktop-of-old"}))
    with pytest.raises(RegistryRefused, match="docker-credential-desktop-of-old"):
        opened(guarded.url).tags()


def test_a_token_that_expires_is_fetched_anew(guarded: Place, tokens: Tokens) -> None:
    tokens.lifetime = 2
    repository = opened(guarded.url, username=USER, password=PASSWORD)
    repository.push_blob(SMALL.blob(), moved=still)
    fetched = len(tokens.asked)
    repository.has_blob(SMALL.digest())
    assert len(tokens.asked) == fetched
    time.sleep(2)
    assert repository.has_blob(SMALL.digest())
    assert len(tokens.asked) == fetched + 1


def test_a_token_that_the_registry_does_not_take_any_more_is_fetched_anew(
    guarded: Place, tokens: Tokens
) -> None:
    tokens.lifetime, tokens.says_expiry = 1, False  # its server forgets to say so: 60 s are assumed
    repository = opened(guarded.url, username=USER, password=PASSWORD)
    repository.push_blob(SMALL.blob(), moved=still)
    time.sleep(1.5)
    tokens.lifetime = 300
    assert repository.has_blob(SMALL.digest())


def test_what_all_may_read_is_read_without_a_login(guarded: Place, tokens: Tokens) -> None:
    opened(guarded.url, username=USER, password=PASSWORD).push_blob(SMALL.blob(), moved=still)
    tokens.anonymous = ("pull",)
    assert read(opened(guarded.url), SMALL.descriptor()) == SMALL.read()
    with pytest.raises(RegistryRefused, match="wants a login"):
        opened(guarded.url).push_blob(BIG.blob(), moved=still)


def test_a_repository_that_one_may_not_touch(guarded: Place, tokens: Tokens) -> None:
    tokens.refuses = ("team/digits",)
    with pytest.raises(RegistryRefused, match="does not let the user ada"):
        opened(guarded.url, username=USER, password=PASSWORD).push_blob(SMALL.blob(), moved=still)


def test_a_mount_asks_for_both_repositories(guarded: Place, tokens: Tokens) -> None:
    place = RemoteRegistry(guarded.url, patience=HASTY, username=USER, password=PASSWORD)
    place.repository("digits").push_blob(BIG.blob(), moved=still)
    sent = place.repository("other").push_blob(BIG.blob(sources=("digits",)), moved=still)
    assert sent.how == "mounted"
    tokens.refuses = ("team/digits",)
    later = RemoteRegistry(guarded.url, patience=HASTY, username=USER, password=PASSWORD)
    sent = later.repository("third").push_blob(BIG.blob(sources=("digits",)), moved=still)
    assert sent.how == "sent"


def test_a_token_server_that_is_busy_is_asked_again(guarded: Place, tokens: Tokens) -> None:
    tokens.broken = 3
    opened(guarded.url, username=USER, password=PASSWORD).push_blob(SMALL.blob(), moved=still)


# -- TLS --------------------------------------------------------------------------------------------------


def test_a_private_authority_is_named_in_the_settings(tmp_path: Path) -> None:
    with registry(tmp_path / "r", tls=True, auth="basic") as place:
        exercise(opened(place.url, ca=place.ca, username=USER, password=PASSWORD))
        with pytest.raises(RegistryRefused, match="certificate of") as refused:
            opened(place.url).tags()
        assert 'ca = "ca.pem"' in str(refused.value.hint)
        with pytest.raises(RegistryRefused, match="speaks TLS") as refused:
            opened(place.url.replace("https", "http")).tags()
        assert "https://" in str(refused.value.hint)


def test_a_server_without_tls_is_told(place: Place) -> None:
    with pytest.raises(RegistryRefused, match="does not speak TLS"):
        opened(place.url.replace("http", "https")).tags()


def test_a_file_without_certificates_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ModelDeployError, match="holds no certificates"):
        opened("https://127.0.0.1:1/team", ca=tmp_path / "ca.pem")


def test_nobody_there_is_told_soon() -> None:
    began = time.monotonic()
    with pytest.raises(RegistryUnavailable, match="Connection refused") as missing:
        opened("http://127.0.0.1:1/team").tags()
    assert "registry.url" in str(missing.value.hint)
    with pytest.raises(RegistryUnavailable, match="cannot be resolved"):
        opened("https://no-such-host.invalid/team").tags()
    assert time.monotonic() - began < 20


# -- faults that pass -------------------------------------------------------------------------------------

PASSING = {
    "500": Fault(status=500),
    "502": Fault(status=502, headers={"Content-Type": "text/html"}, body=b"<html>Bad Gateway</html>"),
    "503": Fault(status=503, headers={"Retry-After": "0"}),
    "429": Fault(status=429, headers={"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}),
    "reset": Fault(cut_request=0),
    "lost": Fault(lose_answer=True),
    "torn": Fault(cut_answer=3),
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_waited_for(proxy: Proxy, fault: str) -> None:
    """Every kind of request meets the fault, each for the first two times."""
    met: dict[str, int] = {}

    def plan(method: str, path: str, length: int) -> Fault:
        kind = f"{method} {path.split('/')[4]}"
        met[kind] = met.get(kind, 0) + 1
        return PASSING[fault] if met[kind] <= 2 else THROUGH

    proxy.plan = plan
    patient = Patience(tries=12, first=0.01, longest=0.05)  # a blob may meet all of them in a row
    exercise(RemoteRegistry(proxy.url(), patience=patient).repository("digits"))
    assert {"HEAD blobs", "POST blobs", "PATCH blobs", "PUT blobs", "PUT manifests", "GET tags"} <= set(met)


def test_what_does_not_pass_is_given_up_with_the_number_of_tries(proxy: Proxy) -> None:
    proxy.plan = always("GET", "tags/list", Fault(status=503))
    with pytest.raises(RegistryUnavailable, match=r"asked 6 times .* 503"):
        opened(proxy.url()).tags()
    assert proxy.count("tags/list") == HASTY.tries


def test_a_registry_that_wants_an_hour_is_not_waited_for(proxy: Proxy) -> None:
    proxy.plan = always("GET", "tags/list", Fault(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(RegistryUnavailable, match="3600 s"):
        opened(proxy.url()).tags()
    assert proxy.count("tags/list") == 1


def test_a_download_goes_on_where_it_was_cut(proxy: Proxy) -> None:
    opened(proxy.url()).push_blob(BIG.blob(), moved=still)
    proxy.plan = once("GET", "/blobs/", Fault(cut_answer=PIECE), times=3)
    assert read(opened(proxy.url()), BIG.descriptor()) == BIG.read()
    assert proxy.received < BIG.size + PIECE


def test_a_proxy_that_knows_no_ranges_only_costs_time(proxy: Proxy) -> None:
    opened(proxy.url()).push_blob(SMALL.blob(), moved=still)
    proxy.plan = always("GET", "/blobs/", Fault(status=200, body=SMALL.read()))
    assert read(opened(proxy.url()), SMALL.descriptor(), 50_000) == SMALL.read(50_000)


@pytest.mark.parametrize("content", [SMALL, BIG], ids=["small", "big"])
def test_bytes_that_change_on_the_way_there_are_sent_again(proxy: Proxy, content: Content) -> None:
    method = "PATCH" if content is BIG else "PUT"
    proxy.plan = once(method, "/uploads/", Fault(corrupt_request=1000))
    assert opened(proxy.url()).push_blob(content.blob(), moved=still).how == "sent"
    assert read(opened(proxy.url()), content.descriptor()) == content.read()


def test_a_manifest_that_changes_on_the_way_is_asked_for_again(proxy: Proxy) -> None:
    there = racing.link(opened(proxy.url()))
    proxy.plan = once("GET", "/manifests/", Fault(corrupt_answer=100))
    assert Descriptor.of(opened(proxy.url()).manifest(there.digest), MANIFEST) == there
    proxy.plan = always("GET", "/manifests/", Fault(corrupt_answer=100))
    with pytest.raises(RegistryRefused, match="instead of sha256"):
        opened(proxy.url()).manifest(there.digest)


# -- a push that is cut off -------------------------------------------------------------------------------


def test_an_upload_goes_on_after_each_cut_and_sends_little_twice(place: Place) -> None:
    """A proxy that hands on whole requests, as nginx does: the registry keeps all pieces but the last."""
    cuts = [0]

    def plan(method: str, path: str, length: int) -> Fault:
        if method == "PATCH" and length and cuts[0] < 6 and len(before.requests) % 2:
            cuts[0] += 1
            return Fault(cut_request=length // 2)
        return THROUGH

    moved = [0]

    def count(number: int) -> None:
        moved[0] += number

    with faulty(place.host, plan, whole=True) as before:
        sent = opened(before.url()).push_blob(BIG.blob(), moved=count)
        assert cuts[0] >= 2
        assert moved[0] == BIG.size
        assert BIG.size < sent.sent <= BIG.size + cuts[0] * PIECE
        assert before.sent <= BIG.size + cuts[0] * (PIECE // 2 + (1 << 16))
        assert read(opened(before.url()), BIG.descriptor()) == BIG.read()


@pytest.mark.parametrize("status", [405, 416])
def test_a_registry_that_takes_no_pieces_gets_the_whole(proxy: Proxy, status: int) -> None:
    proxy.plan = always("PATCH", "/uploads/", Fault(status=status))
    moved = [0]

    def count(number: int) -> None:
        moved[0] += number

    assert opened(proxy.url()).push_blob(BIG.blob(), moved=count).how == "sent"
    assert moved[0] == BIG.size
    assert read(opened(proxy.url()), BIG.descriptor()) == BIG.read()


def _push_and_pull(url: str, content: Content, whole: Path) -> None:
    repository = opened(url)
    repository.push_blob(content.blob(), moved=still)
    if read(repository, content.descriptor()) != content.read():
        raise AssertionError("another content came back")
    whole.touch()


def test_interruptions_where_the_registry_forgets_an_upload_at_each_cut(place: Place, tmp_path: Path) -> None:
    """Cut at random bytes, refused, and killed with no chance to tidy up: in the end all is there.

    Nothing stands between that collects requests; where something does, see `test_push_pull_elsewhere`.
    """
    draw = random.Random(20)
    kills = rounds = 0

    def plan(method: str, path: str, length: int) -> Fault:
        if draw.random() > 0.3:
            return THROUGH
        if method == "GET":
            return Fault(cut_answer=draw.randrange(PIECE))
        faults = (Fault(status=502), Fault(lose_answer=True), Fault(cut_request=draw.randrange(1, PIECE)))
        return draw.choice(faults)

    spawn = multiprocessing.get_context("spawn")
    with faulty(place.host, plan) as before:
        while kills + before.faults < 25 or kills < 4:
            rounds += 1
            content, whole = Content(2 * PIECE + rounds, seed=rounds), tmp_path / str(rounds)
            while not whole.exists():
                process = spawn.Process(target=_push_and_pull, args=(before.url(), content, whole))
                process.start()
                process.join(draw.uniform(0.25, 0.6) if draw.random() < 0.6 else 60)
                if process.is_alive() and process.pid:
                    os.kill(process.pid, signal.SIGKILL)
                    kills += 1
                process.join()
                assert kills < 100
            assert read(opened(place.url), content.descriptor()) == content.read()


# -- answers that cannot be ------------------------------------------------------------------------------

PAGE = Fault(status=200, headers={"Content-Type": "text/html"}, body=b"<!DOCTYPE html><p>Sign in</p>")
OTHER = "sha256:" + "0" * 64


@pytest.mark.parametrize("act", ["tags", "tag", "has_blob", "push_blob", "read", "manifest", "put_manifest"])
@pytest.mark.parametrize(
    "fault", [PAGE, Fault(status=404, headers=PAGE.headers, body=PAGE.body)], ids=["200", "404"]
)
def test_a_login_portal_is_no_registry(proxy: Proxy, act: str, fault: Fault) -> None:
    proxy.plan = lambda *_: fault
    with pytest.raises(RegistryRefused, match=r"web page|404") as refused:
        do(act, opened(proxy.url()))
    assert proxy.host in refused.value.message


def do(act: str, repository: RemoteRepository) -> object:
    """One of the things that are asked of a repository."""
    acts: dict[str, Callable[[], object]] = {
        "tags": repository.tags,
        "tag": lambda: repository.tag("prod"),
        "has_blob": lambda: repository.has_blob(SMALL.digest()),
        "push_blob": lambda: repository.push_blob(SMALL.blob(), moved=still),
        "read": lambda: read(repository, SMALL.descriptor()),
        "manifest": lambda: repository.manifest(OTHER),
        "put_manifest": lambda: repository.put_manifest(manifest_of(SMALL.descriptor()), MANIFEST),
    }
    return acts[act]()


LIES = {
    "another digest": ("GET", "/manifests/", {"Docker-Content-Digest": OTHER}, "manifest"),
    "another type": ("GET", "/manifests/", {"Content-Type": "text/plain"}, "tag"),
    "no digest": ("GET", "/manifests/", {"Docker-Content-Digest": "md5:1"}, "tag"),
    "another blob": ("HEAD", "/blobs/", {"Docker-Content-Digest": OTHER}, "has_blob"),
    "another size": ("HEAD", "/blobs/", {"Content-Length": "1"}, "push_blob"),
    "upload elsewhere": ("POST", "/uploads/", {"Location": "ftp://127.0.0.1/x"}, "push_blob"),
    "upload nowhere": ("POST", "/uploads/", {"Location": ""}, "push_blob"),
    "upload in the open": ("POST", "/uploads/", {"Location": "http://host.example/x"}, "push_blob"),
    "put as another": ("PUT", "/manifests/", {"Docker-Content-Digest": OTHER}, "put_manifest"),
    "compressed": ("GET", "/blobs/", {"Content-Encoding": "gzip"}, "read"),
    "page elsewhere": ("GET", "/tags/", {"Link": '<http://host.example/v2/>; rel="next"'}, "tags"),
    "page without end": ("GET", "/tags/", {"Link": '</v2/team/digits/tags/list?n=1>; rel="next"'}, "tags"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_in_a_header_is_refused(proxy: Proxy, lie: str) -> None:
    method, path, headers, act = LIES[lie]
    repository = opened(proxy.url())
    there = racing.link(repository)
    repository.set_tag("prod", there, was=None)
    if act != "push_blob" or method == "HEAD":
        repository.push_blob(SMALL.blob(), moved=still)
    proxy.plan = always(method, path, Fault(headers=headers))
    fresh = opened(proxy.url())
    with pytest.raises(RegistryRefused) as refused:
        fresh.manifest(there.digest) if act == "manifest" else do(act, fresh)
    assert proxy.host in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"tags": 1}',
        b'{"tags": [1]}',
        b'{"tags": ["a b"]}',
        b'{"tags": ["\x1b[2J"]}',
    ],
)
def test_nonsense_instead_of_tags_is_refused(proxy: Proxy, body: bytes) -> None:
    proxy.plan = always("GET", "/tags/", Fault(status=200, body=body))
    with pytest.raises(RegistryRefused, match="something else than a list"):
        opened(proxy.url()).tags()


@pytest.mark.parametrize("act", ["tags", "tag", "manifest"])
def test_a_body_without_end_is_not_read_to_its_end(proxy: Proxy, act: str) -> None:
    headers = {"Content-Length": str(1 << 40), "Content-Type": "application/json"}
    proxy.plan = lambda *_: Fault(status=200, headers=headers, endless=True)
    with pytest.raises(RegistryRefused, match="more than 4194304 bytes"):
        do(act, opened(proxy.url()))
    assert proxy.received < 32 << 20


def test_a_blob_of_another_length_is_refused(proxy: Proxy) -> None:
    opened(proxy.url()).push_blob(SMALL.blob(), moved=still)
    proxy.plan = always("GET", "/blobs/", Fault(status=200, body=SMALL.read() + b"more"))
    with pytest.raises(RegistryRefused, match="70005 bytes instead of 70001"):
        read(opened(proxy.url()), SMALL.descriptor())


def test_redirects_end(proxy: Proxy) -> None:
    proxy.plan = always("GET", "/blobs/", Fault(status=307, headers={"Location": "/v2/team/digits/blobs/x"}))
    with pytest.raises(RegistryRefused, match="more than 5 redirects"):
        read(opened(proxy.url()), SMALL.descriptor())


def test_content_may_be_kept_elsewhere_and_the_password_stays_here(tmp_path: Path) -> None:
    with (
        registry(tmp_path / "r", auth="basic") as place,
        faulty(place.host) as front,
        faulty(place.host) as store,
    ):
        repository = opened(front.url(), username=USER, password=PASSWORD)
        repository.push_blob(SMALL.blob(), moved=still)
        path = f"/v2/team/digits/blobs/{SMALL.digest()}"
        location = f"http://{store.host}{path}?signature=hunter2"
        front.plan = always("GET", "/blobs/", Fault(status=307, headers={"Location": location}))
        store.plan = lambda *_: Fault(status=200, body=SMALL.read())
        assert read(repository, SMALL.descriptor()) == SMALL.read()
        assert store.requests
        assert not store.authorized
        store.plan = lambda *_: Fault(status=403, body=b"expired")
        with pytest.raises(RegistryRefused) as refused:
            read(repository, SMALL.descriptor())
        assert "hunter2" not in refused.value.message + str(refused.value.details)


def test_the_words_of_a_registry_cannot_write_on_the_terminal(proxy: Proxy) -> None:
    body = json.dumps({"errors": [{"code": "DENIED", "message": "\x1b[2J\r\nhello\u202e" + "x" * 9999}]})
    proxy.plan = lambda *_: Fault(status=400, body=body.encode())
    with pytest.raises(RegistryRefused) as refused:
        opened(proxy.url()).tags()
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 500


def test_pages_of_tags_are_put_together(proxy: Proxy) -> None:
    def plan(method: str, path: str, length: int) -> Fault:
        last = path.partition("last=")[2]
        names = [f"v{number}" for number in range(10)]
        begin = names.index(last) + 1 if last else 0
        page = names[begin : begin + 4]
        link = {"Link": f'</v2/team/digits/tags/list?n=4&last={page[-1]}>; rel="next"'} if begin < 8 else {}
        body = json.dumps({"name": "team/digits", "tags": page}).encode()
        return Fault(status=200, headers=link, body=body)

    proxy.plan = plan
    assert opened(proxy.url()).tags() == [f"v{number}" for number in range(10)]


# -- moving a tag -----------------------------------------------------------------------------------------


def _count_up(url: str, rounds: int, number: int) -> list[int]:
    """Add one to the number that the tag ``count`` points to; which values were written."""
    repository = opened(url)
    written: list[int] = []
    while len(written) < rounds:
        found = repository.tag("count")
        value = json.loads(repository.manifest(found.digest))["annotations"]["value"] if found else "0"
        mine = racing.link(repository, value=str(int(value) + 1), by=str(number))
        try:
            repository.set_tag("count", mine, was=found.digest if found else None)
        except TagMoved:
            continue
        written.append(int(value) + 1)
    return written


def _count_up_at_home(url: str, rounds: int, homes: str, number: int) -> list[int]:
    os.environ["MDEPLOY_HOME"] = f"{homes}/{number}"
    return _count_up(url, rounds, number)


@pytest.mark.parametrize("deletes", [True, False])
def test_processes_on_several_machines_that_count_lose_nothing(tmp_path: Path, *, deletes: bool) -> None:
    """Each has a home of its own, so that only the claims in the registry stand between them."""
    with registry(tmp_path / "r", deletes=deletes) as place:
        work = partial(_count_up_at_home, place.url, 6, str(tmp_path))
        written = sorted(chain.from_iterable(racing.in_processes(4, work)))
        assert written == list(range(1, 25))
        assert list(opened(place.url).tags()) == ["count"]


def test_counting_through_faults_loses_nothing(place: Place, tmp_path: Path) -> None:
    draw = random.Random(4)

    def plan(method: str, path: str, length: int) -> Fault:
        if draw.random() < 0.03:
            return draw.choice((Fault(status=500), Fault(lose_answer=True), Fault(cut_request=0)))
        return THROUGH

    with faulty(place.host, plan) as proxy:
        work = partial(_count_up_at_home, proxy.url(), 4, str(tmp_path))
        written = sorted(chain.from_iterable(racing.in_processes(3, work)))
    last = opened(place.url).tag("count")
    assert last
    assert written == list(range(1, 13))


def _take_and_hang(url: str, home: str) -> None:
    """Hold the lock of the repository until the end."""
    os.environ["MDEPLOY_HOME"] = home
    from modeldeploy.registry.remote import tagging

    def hang(*_: object) -> None:
        Path(home, "holds").touch()
        time.sleep(300)

    tagging.Move.under = hang  # type: ignore[method-assign,assignment]  # in a process of its own
    repository = opened(url)
    repository.set_tag("prod", racing.link(repository, by="dead"), was=None)


@pytest.mark.parametrize("same_home", [True, False])
def test_a_holder_who_was_killed_delays_the_others_by_20_seconds_at_most(
    place: Place, home: Path, tmp_path: Path, *, same_home: bool
) -> None:
    its = home if same_home else tmp_path / "other"
    process = multiprocessing.get_context("spawn").Process(target=_take_and_hang, args=(place.url, str(its)))
    process.start()
    while not (its / "holds").exists():
        time.sleep(0.05)
        assert process.is_alive()
    process.kill()
    process.join()
    repository = opened(place.url)
    began = time.monotonic()
    repository.set_tag("prod", racing.link(repository), was=None)
    assert time.monotonic() - began < (4 if same_home else 20)
    began = time.monotonic()
    repository.set_tag("next", racing.link(repository), was=None)
    assert time.monotonic() - began < 4


def test_an_answer_that_is_lost_is_not_taken_for_somebody_elses_move(proxy: Proxy) -> None:
    repository = opened(proxy.url())
    first, second = racing.link(repository, by="1"), racing.link(repository, by="2")
    repository.set_tag("prod", first, was=None)
    proxy.plan = once("PUT", "/manifests/prod", Fault(lose_answer=True))
    repository.set_tag("prod", second, was=first.digest)
    found = repository.tag("prod")
    assert found
    assert found.digest == second.digest


def test_a_registry_that_does_not_take_the_manifests_of_claims_is_told_soon(proxy: Proxy) -> None:
    repository = opened(proxy.url())
    there = racing.link(repository)
    body = json.dumps({"errors": [{"code": "MANIFEST_INVALID", "message": "artifactType"}]}).encode()
    proxy.plan = always("PUT", "/manifests/_lock.", Fault(status=400, body=body))
    with pytest.raises(RegistryRefused, match="MANIFEST_INVALID: artifactType"):
        repository.set_tag("prod", there, was=None)


def test_the_same_blob_may_come_from_a_file_that_changes(place: Place) -> None:
    """What is sent is not what was hashed: told as that, and nothing is kept under the wrong name."""
    named = Content(SMALL.size, seed=5).descriptor()
    with pytest.raises(RegistryRefused, match="not what is to be sent") as refused:
        opened(place.url).push_blob(Blob(named, SMALL.blob().open), moved=still)
    assert "has changed" in str(refused.value.hint)
    assert not opened(place.url).has_blob(named.digest)
