"""What one key says about another, and what the tables mean to those who act on them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from config_place import GOOD
from modeldeploy.config.load import load
from modeldeploy.config.settings import Identity, ImageSettings, PolicySettings
from modeldeploy.errors import ConfigError

Write = Callable[[str], Path]
Refused = Callable[[str], ConfigError]

TARGETS = GOOD + '[targets.staging]\ndriver = "process"\nport = 8081\n'
DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[policy.stagign]\n",
            "14: policy.stagign: there is no target 'stagign'; expected one of local, staging",
        ),
        ('[policy.local]\nfrom = ["stging"]\n', "15: policy.local.from[0]: there is no target 'stging'"),
        ('[policy.local]\nfrom = ["local"]\n', "nothing comes to local from local itself"),
        (
            '[policy.local]\nfrom = ["staging"]\n[policy.staging]\nfrom = ["local"]\n',
            "a circle: staging takes only what comes from local",
        ),
        ('[policy.local]\nmin_age = "1h"\n', "policy.local.min_age: counts from when a target of `from`"),
        ('[policy.local]\nrequire = ["signed"]\n', "nobody's signatures count"),
        ('[policy.local]\nrequire = ["singed"]\n', "did you mean 'signed'?"),
        ('[policy.local]\nrequire = ["approved"]\n', "how many approvals?; "),
        ('[policy.local]\nrequire = ["approved:0"]\n', "nothing that a policy can ask for"),
        ('[policy.local]\nrequire = ["test", "test"]\n', "test is there twice"),
        ('[policy.local]\nrequire = ["approved:1", "approved:2"]\n', "one number of approvals is enough"),
        ('[policy.local]\nform = ["staging"]\n', "policy.local.form: unknown key"),
        ('[image]\nrun = ["ldconfig"]\n', "image.run: only an engine can run commands"),
        (
            f'[image]\nbase = "x.io/y@{DIGEST}"\npackages = ["libgomp1"]\n',
            "image.packages: mdeploy itself adds packages only to its own base",
        ),
        (
            '[build]\nplatforms = ["linux/amd64"]\n[image]\nplatforms = ["linux/arm64"]\n',
            "image.platforms[0]: the bundle is not made for linux/arm64",
        ),
        ('[image]\nplatforms = ["linux/x86_64"]\n', "did you mean 'linux/amd64'?"),
        ("[image]\nplatforms = []\n", "at least one platform is needed"),
        ('[image]\nbase = "python:3.11/x"\n', "a tag may mean another image tomorrow"),
        ('[image]\nbase = "debain"\n', "did you mean 'debian'?"),
        ("[image]\nuser = 0\n", "image.user: 0 is out of range"),
        ('[image]\nengine = "dokcer"\n', "did you mean 'docker'?"),
        ('[registry]\nusername = "x"\n', "registry.username: needs registry.password beside it"),
        ('[registry]\nca = "ca.pem"\n', "registry.ca: there is no file ca.pem"),
        ('[signing]\npublic_keys = ["x.pub"]\n', "signing.public_keys[0]: there is no file x.pub"),
        ('[signing]\nidentities = [{ subject = "x" }]\n', "signing.identities[0].issuer: missing"),
        ("[metadata]\nwhen = 2024-01-01\n", "metadata: write dates and times as text, in quotes"),
        ("[metadata]\nx = inf\n", "metadata: a number that is infinite"),
        ("[metadata]\nx = 99999999999999999\n", "metadata: a number of that size"),
    ],
)
def test_a_contradiction_is_told(refused: Refused, text: str, told: str) -> None:
    assert told in refused(TARGETS + text).message


@pytest.mark.parametrize(
    ("licence", "told"),
    [("apache-2.0", "did you mean 'Apache-2.0'?"), ("my own", "not an SPDX licence expression")],
)
def test_a_licence_is_written_as_spdx_does(refused: Refused, licence: str, told: str) -> None:
    text = GOOD.replace('"model.onnx"', f'"model.onnx"\nlicense = "{licence}"')
    assert told in refused(text).message


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://example.com/x", "http:// sends passwords and models in the clear"),
        ("localhost:5000/team", "did you mean 'http://localhost:5000/team'?"),
        ("docker://registry.example.com/team", "did you mean 'https://registry.example.com/team'?"),
        ("registry.example.com/team", "a host or a folder; write https://registry.example.com/team or"),
        ("ftp://x/y", "'ftp:' is not known"),
        ("https://", "not the address of a registry"),
        ("https://x/Y", "not the address of a registry"),
        ("s3://", "not a bucket of S3"),
        ("~/registry", "begins with ~"),
        ("", "not the address of a registry"),
    ],
)
def test_an_address_that_is_none_is_refused(refused: Refused, url: str, told: str) -> None:
    assert told in refused(GOOD + f'[registry]\nurl = "{url}"\n').message


@pytest.mark.parametrize(
    "url",
    [
        "https://x.io/team",
        "https://x.io:5000",
        "http://127.0.0.1:5000/team",
        "http://[::1]:5000/a",
        "http://localhost:5/a",
        "s3://bucket/a/b",
    ],
)
def test_addresses_are_taken_as_they_are(write: Write, url: str) -> None:
    settings = load(write(GOOD + f'[registry]\nurl = "{url}"\n')).registry()
    assert (settings.url, settings.is_folder) == (url, False)


def test_a_folder_is_relative_to_the_project_and_without_one_it_is_in_the_home(
    write: Write, home: Path
) -> None:
    folder = write(GOOD + '[registry]\nurl = "../shared/registry"\n')
    assert load(folder).registry().url == str(folder.parent / "shared" / "registry")
    settings = load(write(GOOD)).registry()
    assert (settings.url, settings.is_folder) == (str(home / "registry"), True)


def test_a_policy_is_told_in_numbers(write: Write) -> None:
    (write(GOOD) / "a.pub").touch()
    project = load(
        write(
            TARGETS + '[policy.local]\nfrom = ["staging"]\nrequire = ["signed", "approved:2", "test"]\n'
            'min_age = "1h"\n[signing]\npublic_keys = ["a.pub"]\n'
        )
    )
    wanted = PolicySettings("local", ("staging",), frozenset({"signed", "test"}), 2, 3600.0)
    assert project.promotion("local") == wanted
    assert project.promotion("staging").asks_nothing
    assert not wanted.asks_nothing


def test_an_image_is_made_for_the_first_platform_unless_told_otherwise(write: Write) -> None:
    folder = write(GOOD)
    assert load(folder).image() == ImageSettings()
    both = ("linux/arm64", "linux/amd64")
    text = '[build]\nplatforms = ["linux/arm64", "linux/amd64"]\n'
    assert load(write(GOOD + text)).image().platforms == both[:1]
    text += '[image]\nplatforms = ["linux/arm64", "linux/amd64"]\nbase = "oci:base"\nuser = 1000\n'
    assert load(write(GOOD + text)).image() == ImageSettings(
        base=f"oci:{folder / 'base'}", platforms=both, user=1000
    )


def test_keys_are_paths_or_references(write: Write) -> None:
    folder = write(GOOD)
    (folder / "ci.pub").touch()
    text = (
        '[signing]\nkey = "{}"\npublic_keys = ["ci.pub", "acme://k"]\n'
        'identities = [{{ subject = "a", issuer = "b" }}]\n'
    )
    signing = load(write(GOOD + text.format("cosign.key"))).signing()
    assert signing.key == str(folder / "cosign.key")
    assert signing.public_keys == (str(folder / "ci.pub"), "acme://k")
    assert signing.identities == (Identity("a", "b"),)
    for key in ("env://COSIGN_PRIVATE_KEY", "secret:env:KEY", "acme://team/key", "keyless"):
        assert load(write(GOOD + text.format(key))).signing().key == key


def test_metadata_is_what_the_file_says(write: Write) -> None:
    text = '[metadata]\naccuracy = 0.98\nlineage = { run = "x", parents = ["a", "b"] }\n"größe" = true\n'
    assert load(write(GOOD + text)).file.metadata == {
        "accuracy": 0.98,
        "lineage": {"run": "x", "parents": ["a", "b"]},
        "größe": True,
    }
