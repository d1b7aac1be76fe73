"""What users type when bundles are elsewhere: in real OCI registries with TLS and logins, and in a bucket.

They are interrupted, they are two at once, their disks are full, and the registry has a bad day.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

import mounts
import small_bundles
from image_place import kept_image
from modeldeploy.bundle.manifest import LOCK
from modeldeploy.bundle.store import BundleStore
from modeldeploy.registry.remote.uploads import PIECE
from modeldeploy.registry.s3.upload import PART
from needs import need
from registry_faults import THROUGH, Fault, Plan, Proxy
from shipping_place import KINDS, PASSWORD, S3, TOKENS, Sharing, Trouble, at_random, sharing
from story_project import Running, Story, Typed

pytestmark = pytest.mark.story

assert PIECE == PART
MODEL = random.Random(1).randbytes(8 * PIECE + 4321)
ENDS = (("cut", "killed"), ("killed",), ("cut", "killed"), ("cut", "killed"), ("Ctrl-C",))
"""What happens to each of those who do not come to their end."""
SMALL = MODEL[: PIECE + 100_000]
DIGEST = small_bundles.manifest_of(small_bundles.CODE | {"src/model.onnx": SMALL}).ref().digest
SLACK = 300_000
"""Bytes of manifests, claims, the audit log and whatever else is small."""


@dataclass(frozen=True)
class Digests:
    """What has to be the same wherever it comes from."""

    digest: str
    manifest: str
    image: str

    @classmethod
    def told_by(cls, pushed: Typed) -> Digests:
        return cls(*(str(pushed.result[key]) for key in ("digest", "manifest", "image")))


@pytest.fixture(scope="module", params=KINDS)
def common(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sharing]:
    with sharing(request.param, tmp_path_factory.mktemp("sharing")) as running:
        yield running


@pytest.fixture(scope="module")
def author(common: Sharing) -> tuple[Story, Digests]:
    """Who has the bundle and its image; and what a push says that nothing interrupts."""
    user = common.machine("author")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MDEPLOY_HOME", str(user.home))
        kept_image(small_bundles.put(MODEL), packages=bytes(100_000))
    return user, Digests.told_by(user.ask(f"push 1.0.0 --to {common.folder / 'calm'}"))


@pytest.fixture(scope="module")
def calm(common: Sharing) -> Story:
    """Who has pushed a small bundle, which others pull."""
    user = common.machine("calm", team="calm")
    small_bundles.put(SMALL, home=user.home)
    user.type("push 1.0.0")
    return user


def only(*kinds: str) -> pytest.MarkDecorator:
    """With these kinds of registries and no others."""
    return pytest.mark.parametrize("common", kinds, indirect=True, scope="module")


def test_interrupted_at_random_they_go_on_and_the_digests_are_the_same(
    common: Sharing, author: tuple[Story, Digests]
) -> None:
    """Eighteen times for each kind of registry: by kill -9, by Ctrl-C, and by connections that are cut."""
    (here, digests), proxy = author, common.proxy
    chance, happened = random.Random(KINDS.index(common.kind)), list[str]()
    for hows in ENDS:
        trouble = Trouble(proxy, at_random(chance, 0.2 * PIECE, 1.6 * PIECE, *hows))
        _insist_on_end(trouble.through(here, "push 1.0.0"), hows[-1], trouble)
        happened += trouble.happened
    sent = proxy.sent
    trouble = Trouble(proxy, at_random(chance, 0, 50_000, "cut"))
    pushed = trouble.through(here, "push 1.0.0 --json")
    happened += trouble.happened
    assert Digests.told_by(pushed) == digests
    assert proxy.sent - sent < len(MODEL) - PIECE, "the last one went on where others ended"
    assert len(MODEL) < proxy.sent - proxy.lost < len(MODEL) + SLACK, "nothing that came was sent again"

    there, received = common.machine("reader"), proxy.received
    for hows in ENDS:
        trouble = Trouble(proxy, at_random(chance, 0.1 * PIECE, 0.9 * PIECE, *hows))
        _insist_on_end(trouble.through(there, "pull 1.0.0"), hows[-1], trouble)
        happened += trouble.happened
        assert _has_nothing(there)
    trouble = Trouble(proxy, at_random(chance, 0, 50_000, "cut"))
    assert trouble.through(there, "pull 1.0.0 --json").result["digest"] == digests.digest
    assert proxy.received - received < len(MODEL) + 9 * (2 << 20), "what came is not asked for again"
    happened += trouble.happened
    assert len(happened) == 18
    _is_intact(there)


def _insist_on_end(typed: Typed, how: str, trouble: Trouble) -> None:
    assert how in trouble.happened, f"it ended before: {typed}"
    assert typed.code == (-signal.SIGKILL if how == "killed" else 130), typed.text


def _has_nothing(user: Story) -> bool:
    return not BundleStore(user.home).all()


def _is_intact(user: Story, version: str = "1.0.0") -> None:
    """Every byte here and in the registry, and the audit log."""
    found = user.ask(f"verify {version}").result["findings"]
    assert {finding["level"] for finding in found} == {"ok"}
    assert {"store", "registry"} <= {finding["check"] for finding in found}
    user.type("audit verify")


@only(TOKENS, S3)
def test_versions_stay_aliases_move_and_only_what_changed_is_sent(common: Sharing) -> None:
    here = common.machine("aliases", team="aliases")
    first = small_bundles.put(SMALL, home=here.home)
    here.type("push 1.0.0")
    small_bundles.put(SMALL, home=here.home, version="1.1.0", others={"src/service.py": b"answer = 43\n"})
    assert here.ask("push 1.1.0").result["sent"] < 20_000
    assert here.ask("push 1.1.0").result["unchanged"]
    here.type("alias prod 1.0.0")
    assert here.ask("alias @prod 1.1.0").result["previous"]["digest"] == first.ref.digest
    there = common.machine("follower", team="aliases")
    assert there.ask("pull @prod").result["ref"] == "digits:1.1.0"
    kinds = [entry["kind"] for entry in there.ask("audit").result["entries"]]
    assert kinds == ["alias", "alias", "push", "push"]
    _is_intact(there, "1.1.0")


@pytest.mark.parametrize("same", [True, False], ids=["the same", "another"])
def test_of_two_who_push_one_version_at_once(common: Sharing, *, same: bool) -> None:
    """With the same content both succeed; with another one of them is told what differs."""
    team, at_work = f"two-{same}".lower(), list[Running]()
    for name, model in (("one", SMALL), ("two", SMALL if same else SMALL[::-1])):
        user = common.machine(f"{team}-{name}", team=team)
        small_bundles.put(model, home=user.home)
        at_work.append(user.begin("push 1.0.0 --json"))
    ended = sorted((running.end() for running in at_work), key=lambda typed: typed.code)
    assert [typed.code for typed in ended] == [0, 0 if same else 4]
    if same:
        assert ended[0].result["manifest"] == ended[1].result["manifest"]
        return
    assert "with other content" in ended[1].error["message"]
    assert "src/model.onnx changed" in ended[1].error["message"]
    assert "mdeploy build --bump" in ended[1].error["hint"]
    reader = common.machine(f"{team}-reader", team=team)
    assert reader.ask("pull 1.0.0").result["digest"] == ended[0].result["digest"]
    _is_intact(reader)


# -- a full disk ------------------------------------------------------------------------------------------


@only(PASSWORD)
def test_a_disk_that_is_full_is_told_and_the_pull_goes_on_when_there_is_room(
    common: Sharing, calm: Story, tmp_path: Path
) -> None:
    with mounts.small_disk(tmp_path / "disk", "40m"):
        there = common.machine("full", team="calm", home=tmp_path / "disk/home")
        ballast = mounts.fill(tmp_path / "disk")
        os.truncate(ballast, ballast.stat().st_size - PIECE // 2)
        error = there.ask("pull 1.0.0", ends_with=1).error
        assert re.search(rf"no space left.* {there.home}", error["message"])
        assert _has_nothing(there)
        ballast.unlink()
        received = common.proxy.received
        there.type("pull 1.0.0")
        assert common.proxy.received - received < len(SMALL) - PIECE // 4
        _is_intact(there)
        there.close()


@only(PASSWORD)
def test_an_image_is_made_and_pushed_although_the_disk_was_full_and_the_network_fails(
    common: Sharing, tmp_path: Path, shared: Path
) -> None:
    """On a disk that is full until room is made, killed and cut off: the same as without any trouble."""
    need(shutil.which("apt-get") and shutil.which("dpkg-deb"), "apt-get and dpkg-deb")
    (shared / "cache").mkdir(parents=True, exist_ok=True)
    with mounts.small_disk(tmp_path / "disk", "200m"):
        user = _who_can_make_images(common, "troubled", tmp_path / "disk/home", shared)
        ballast = mounts.fill(tmp_path / "disk")
        os.truncate(ballast, ballast.stat().st_size - PIECE)
        assert "no space left" in user.ask("push 1.0.0 --image", ends_with=1).error["message"]
        ballast.unlink()
        sent = common.proxy.sent - common.proxy.lost
        killed = Trouble(common.proxy, [(2 * PIECE, "killed")]).through(user, "push 1.0.0 --image")
        assert killed.code == -signal.SIGKILL
        pushed = Trouble(common.proxy, [(PIECE // 2, "cut")]).through(user, "push 1.0.0 --image --json")
        assert common.proxy.sent - common.proxy.lost - sent < pushed.result["size"] + SLACK
        user.close()
    other = _who_can_make_images(common, "untroubled", tmp_path / "home-2", shared)
    shutil.copy(user.folder / "modeldeploy.image.lock", other.folder)
    assert Digests.told_by(other.ask("push 1.0.0 --image")) == Digests.told_by(pushed)
    reader = common.machine("image-reader", team="troubled")
    reader.type("pull 1.0.0")
    _is_intact(reader)


def _who_can_make_images(common: Sharing, name: str, home: Path, shared: Path) -> Story:
    """Somebody with a bundle that needs no packages, and with Debian's, which others have fetched."""
    user = common.machine(name, team=name, home=home)
    (home / "cache").symlink_to(shared / "cache")
    small_bundles.put(SMALL, home=home, others={LOCK: b""})
    return user


# -- a registry that has a bad day ------------------------------------------------------------------------

_HTML = {"Content-Type": "text/html"}
_PAGE = b"<!DOCTYPE html><title>Sign in</title>"
PASSING = (
    Fault(status=500),
    Fault(status=502, headers=_HTML, body=b"<html>Bad Gateway</html>"),
    Fault(status=503),
    Fault(status=429, headers={"Retry-After": "1"}),
    Fault(cut_request=0),
    Fault(lose_answer=True),
    Fault(cut_answer=0),
)


@only(PASSWORD, S3)
def test_what_passes_is_waited_for(common: Sharing) -> None:
    """Every fourth request meets the next fault."""
    numbers = itertools.count()

    def plan(method: str, path: str, length: int) -> Fault:
        number = next(numbers)
        return THROUGH if number % 4 else PASSING[number // 4 % len(PASSING)]

    with common.another_way() as way:
        here, there = (common.machine(name, team="passing", by=way) for name in ("sender", "taker"))
        stored = small_bundles.put(SMALL, home=here.home)
        way.plan = plan
        assert here.ask("push 1.0.0").result["digest"] == stored.ref.digest
        assert there.ask("pull 1.0.0").result["digest"] == stored.ref.digest
        assert way.faults >= len(PASSING)
        way.plan = lambda *_: THROUGH
        _is_intact(there)


@dataclass(frozen=True)
class Lasting:
    """What a registry does again and again."""

    what: str
    """The command that meets it."""
    fault: Fault
    requests: str = "."
    """Which ones, as a pattern of method and path."""
    told: str = ""
    """In the message."""
    kinds: tuple[str, ...] = (PASSWORD, S3)


_WRITES, _CONTENT = "^(PUT|PATCH|POST) ", "^GET .*/blobs/sha256"
_ELSE = "sha256:" + "0" * 64
_ENDLESS = Fault(
    status=200, headers={"Content-Length": str(1 << 40), "Content-Type": "application/json"}, endless=True
)
LASTING = {
    "pull, 500": Lasting("pull", Fault(status=500)),
    "pull, 502": Lasting("pull", PASSING[1], _CONTENT),
    "pull, 429": Lasting("pull", Fault(status=429, headers={"Retry-After": "3600"})),
    "pull, nothing of a body": Lasting("pull", Fault(cut_answer=0), _CONTENT),
    "pull, wrong content": Lasting("pull", Fault(corrupt_answer=70_000), _CONTENT),
    "pull, wrong manifest": Lasting("pull", Fault(corrupt_answer=100), "^GET .*/manifests/"),
    "pull, wrong digest in a header": Lasting(
        "pull", Fault(headers={"Docker-Content-Digest": _ELSE}), "/manifests/", _ELSE[:19], (PASSWORD,)
    ),
    "pull, a web page": Lasting("pull", Fault(status=200, headers=_HTML, body=_PAGE)),
    "pull, no end": Lasting("pull", _ENDLESS, "^GET "),
    "push, 500": Lasting("push", Fault(status=500), _WRITES),
    "push, 502": Lasting("push", PASSING[1], _WRITES),
    "push, 429": Lasting("push", Fault(status=429, headers={"Retry-After": "3600"}), _WRITES),
    "push, cut off": Lasting("push", Fault(cut_request=0), "^(PUT|PATCH) "),
    "push, no answer": Lasting("push", Fault(lose_answer=True), _WRITES),
    "push, wrong content": Lasting("push", Fault(corrupt_request=1000), "^(PUT|PATCH) "),
    "push, wrong digest in a header": Lasting(
        "push", Fault(headers={"Docker-Content-Digest": _ELSE}), "^PUT .*/manifests/", _ELSE[:19], (PASSWORD,)
    ),
    "push, a web page": Lasting("push", Fault(status=200, headers=_HTML, body=_PAGE)),
    "push, no end": Lasting("push", _ENDLESS, "^GET "),
}


@dataclass
class Case:
    """Somebody who meets that, and is told so at last."""

    user: Story
    way: Proxy
    running: Running


@pytest.fixture(scope="module")
def bad_day(common: Sharing, calm: Story) -> Iterator[dict[str, Case]]:
    """All of them at once: each mostly waits."""
    cases = {}
    with ExitStack() as ways:
        for number, (name, lasting) in enumerate(LASTING.items()):
            if common.kind not in lasting.kinds:
                continue
            way = ways.enter_context(common.another_way())
            team = "calm" if lasting.what == "pull" else f"case-{number}"
            user = common.machine(f"case-{number}", team=team, by=way)
            if lasting.what == "push":
                small_bundles.put(SMALL, home=user.home)
            way.plan = _lasting(lasting)
            cases[name] = Case(user, way, user.begin(f"{lasting.what} 1.0.0 --json"))
        yield cases


def _lasting(lasting: Lasting) -> Plan:
    def plan(method: str, path: str, length: int) -> Fault:
        return lasting.fault if re.search(lasting.requests, f"{method} {path}") else THROUGH

    return plan


@only(PASSWORD, S3)
@pytest.mark.parametrize("name", LASTING)
def test_what_does_not_pass_is_told_and_the_same_command_works_when_all_is_well(
    common: Sharing, bad_day: dict[str, Case], name: str
) -> None:
    lasting = LASTING[name]
    if name not in bad_day:
        assert common.kind not in lasting.kinds
        return
    case = bad_day[name]
    typed = case.running.end(within=300)
    assert typed.code == 4, typed.text[-3000:]
    assert "Traceback" not in typed.text
    assert typed.error["kind"] in ("RegistryRefused", "RegistryUnavailable")
    assert lasting.told in typed.error["message"]
    assert typed.error["hint"]
    assert case.way.faults
    assert case.way.received < 100 * PIECE
    user = case.user
    assert lasting.what == "push" or _has_nothing(user)
    case.way.plan = lambda *_: THROUGH
    assert user.ask(f"{lasting.what} 1.0.0").result["digest"] == DIGEST
    if lasting.what == "push":
        _is_intact(user)
