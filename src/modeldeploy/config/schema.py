"""The project file's keys: what each one means, what it may be, and what holds without it.

This is the one source: the reference page, the JSON Schema for editors, the checks of the example file
and the words of the error messages are all made from the descriptions and examples below.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag

from modeldeploy.config.forms import AnyPlatforms
from modeldeploy.config.model_tables import ModelTable, NamedModelTable
from modeldeploy.config.names import DRIVERS_GROUP, PROCESS, closest
from modeldeploy.config.places import PLATFORMS
from modeldeploy.config.release import ImageTable, PolicyTable, RegistryTable, ScanTable, SigningTable
from modeldeploy.config.service_tables import ServiceTable
from modeldeploy.config.table import Table
from modeldeploy.config.values import (
    Duration,
    Environments,
    Host,
    Metadata,
    Name,
    Pattern,
    Port,
    Program,
    Python,
    Requirement,
    Share,
    Steps,
    Variables,
    Version,
    refuse,
)
from modeldeploy.model import Gates, Policy, Sealed

PLUGIN = "plugin"
"""Tags the form of a target whose driver is not built in."""


class ProjectTable(Table):
    """What is deployed, and as which version."""

    name: Name = Field(description="Name of the project and of its bundles.", examples=["digits"])
    version: Version = Field(
        description="Version of the next bundle. A version that was built never changes: raise it for a new "
        "model (`mdeploy build --bump patch`).",
        examples=["1.0.0", "2024.5.1", "1.1.0-rc1"],
    )


class BuildTable(Table):
    """What goes into the bundle beside the model."""

    python: Python = Field(
        default="3.11", description="Python that the bundle runs on.", examples=["3.11", "3.13"]
    )
    requirements: Annotated[tuple[Requirement, ...], Field(strict=False)] = Field(
        default=(),
        description="Packages that the service needs. `mdeploy build` locks them, and all that they need, "
        "with hashes in `modeldeploy.lock`.",
        examples=[["onnxruntime>=1.20", "pillow==11.*"]],
    )
    include: Annotated[tuple[Pattern, ...], Field(strict=False)] = Field(
        default=(),
        description="Patterns of further files to put into the bundle; `**` stands for any folders.",
        examples=[["*.py", "labels/**/*.txt"]],
    )
    exclude: Annotated[tuple[Pattern, ...], Field(strict=False)] = Field(
        default=(),
        description="Patterns of files to leave out of those.",
        examples=[["train.py", "test_*.py"]],
    )
    platforms: AnyPlatforms = Field(
        default=PLATFORMS,
        description="Platforms that images can be made for: every locked package must be there as a wheel "
        "for each. `[]` asks for none, and no image can be made.",
        examples=[["linux/amd64", "linux/arm64"]],
    )


class GatesTable(Table):
    """The numbers that a candidate must show before each next step."""

    error_rate: Share = Field(
        default=0.01,
        description="Highest share of failed requests, from 0 to 1; 1 lets any number pass.",
        examples=[0.01],
    )
    p50: Duration | None = Field(
        default=None, description="Highest median latency; not asked for without it.", examples=["10ms"]
    )
    p95: Duration | None = Field(
        default=None,
        description="Highest latency of 95 of 100 requests; not asked for without it.",
        examples=["50ms"],
    )
    p99: Duration | None = Field(
        default=None,
        description="Highest latency of 99 of 100 requests; not asked for without it.",
        examples=["200ms"],
    )
    max_error_increase: Share = Field(
        default=0.01,
        description="How far the candidate's share of failed requests may lie above that of stable over the "
        "same time; 1 lets any number pass.",
        examples=[0.01],
    )
    max_p95_ratio: float | None = Field(
        default=None,
        ge=1,
        allow_inf_nan=False,
        description="How many times stable's p95 the candidate's may be over the same time; not asked for "
        "without it.",
        examples=[1.5],
    )
    min_requests: int = Field(
        default=Gates().min_requests,
        ge=1,
        le=1_000_000,
        description="Fewer requests to the candidate than this decide nothing: neither pass nor fail.",
        examples=[100],
    )
    patience: Duration = Field(
        default=Gates().patience,
        description="How long to wait, after the soak, for enough requests; then the rollout is held.",
        examples=["60s"],
    )
    golden: bool = Field(
        default=Gates().golden,
        description="The candidate must reproduce its golden samples before the first request of a user.",
        examples=[True],
    )

    def gates(self) -> Gates:
        """The same in the words of the rollout engine; latencies in seconds."""
        return Gates(**self.model_dump())


class RolloutTable(Table):
    """How a new revision takes over."""

    strategy: Literal["rolling", "blue-green", "canary"] = Field(
        default="canary",
        description="`canary` moves traffic in `steps` and judges the numbers after each; `blue-green` moves "
        "all at once, after the checks, and judges then; `rolling` moves it in equal parts, one per replica, "
        "and only asks that the new revision stays ready.",
        examples=["canary"],
    )
    steps: Steps = Field(
        default=Policy().steps,
        description="The candidate's share of the traffic at each step of a canary, in percent. Stable has "
        "the rest; 100 follows by itself.",
        examples=[[5, 25, 50]],
    )
    soak: Duration = Field(
        default=Policy().soak, description="How long each step lasts at the least.", examples=["10s"]
    )
    keep: int = Field(
        default=Policy().keep,
        ge=0,
        le=10,
        description="How many former stable revisions stay warm, so that `mdeploy rollback` takes no boot.",
        examples=[1],
    )
    ready_timeout: Duration = Field(
        default=Policy().ready_timeout,
        description="How long a new revision may take to become ready.",
        examples=["2m"],
    )
    drain_timeout: Duration = Field(
        default=Policy().drain_timeout,
        description="How long requests in flight may take to end before their revision goes.",
        examples=["30s"],
    )
    on_interrupt: Literal["rollback", "hold"] = Field(
        default="rollback",
        description="What Ctrl-C does: go back to stable, or hold the traffic where it is.",
        examples=["rollback"],
    )
    gates: GatesTable = Field(default_factory=GatesTable, description="What a candidate must show.")

    def policy(self) -> Policy:
        """The same in the words of the rollout engine; times in seconds."""
        return Policy(**self.model_dump(exclude={"gates"}), gates=self.gates.gates())


class TargetTable(Table):
    """A place to run, whatever its driver."""

    driver: str
    replicas: int = Field(
        default=1, ge=1, le=64, description="How many copies of the service run side by side.", examples=[2]
    )
    env: Variables = Field(
        default_factory=dict,
        description="Environment variables of the service. Their values are never shown, logged or printed.",
        examples=[{"LOG_LEVEL": "info"}],
    )
    rollout: RolloutTable = Field(default_factory=RolloutTable, description="How a new revision takes over.")

    def sealed_env(self) -> Sealed:
        """The environment variables, values unveiled but not shown."""
        return Sealed({name: value.get_secret_value() for name, value in self.env.items()})


class ProcessTargetTable(TargetTable):
    """Supervised processes on this machine, with Envoy in front."""

    driver: Literal["process"] = Field(
        description="Where the revisions run: `process` for this machine.", examples=["process"]
    )
    host: Host = Field(
        default="127.0.0.1",
        description="Address that the endpoint listens on. Any other than a loopback address opens the model "
        "to the network, without a password: it is your explicit wish.",
        examples=["127.0.0.1", "::1"],
    )
    port: Port = Field(description="Port of the endpoint.", examples=[8080])
    envoy: Program | None = Field(
        default=None,
        description="The Envoy to use instead of the one that mdeploy brings or finds on PATH. A path is "
        "absolute or relative to the project's folder.",
        examples=["/usr/local/bin/envoy"],
    )


def _known_driver(value: str) -> str:
    from importlib.metadata import entry_points  # 10 ms that only other drivers cost

    known = sorted({PROCESS, *entry_points(group=DRIVERS_GROUP).names})
    if value not in known:
        refuse(f"no such driver; expected one of {', '.join(known)}", nearest=closest(value, known))
    return value


class PluginTargetTable(TargetTable):
    """A target of another package's driver. That driver checks the keys that are not listed here."""

    model_config = ConfigDict(extra="allow")

    driver: Annotated[str, AfterValidator(_known_driver)] = Field(
        description=f"Name of a driver that an installed package registers under `{DRIVERS_GROUP}`.",
        examples=["acme"],
        json_schema_extra={"not": {"const": PROCESS}},
    )

    def __repr_args__(self) -> list[tuple[str | None, object]]:
        """Without the driver's own keys, which may hold secrets."""
        return [(name, getattr(self, name)) for name in type(self).model_fields]


def form_of(target: object) -> str:
    """Which of the two forms a target's table is to be checked as."""
    driver = target.get("driver") if isinstance(target, dict) else getattr(target, "driver", None)
    return PROCESS if driver == PROCESS or not isinstance(driver, str) else PLUGIN


AnyTargetTable = Annotated[
    Annotated[ProcessTargetTable, Tag(PROCESS)] | Annotated[PluginTargetTable, Tag(PLUGIN)],
    Discriminator(form_of),
]


class ProjectFile(Table):
    """A whole `modeldeploy.toml`."""

    project: ProjectTable = Field(description="What is deployed, and as which version.")
    model: ModelTable = Field(default_factory=ModelTable, description="The trained model.")
    models: dict[Name, NamedModelTable] = Field(
        default_factory=dict,
        description="Several models, in place of `model.path`; `service.chain`, `service.ensemble` or "
        "`service.choose` says how they are one.",
    )
    service: ServiceTable = Field(
        default_factory=ServiceTable,
        description="What answers requests. Without it, the service is generated from the model's signature.",
    )
    build: BuildTable = Field(
        default_factory=BuildTable, description="What goes into the bundle beside the model."
    )
    metadata: Metadata = Field(
        default_factory=dict,
        description="What you want to be known of this model, in keys of your own: metrics, data set, "
        "lineage. It is part of the bundle and of its digest.",
        examples=[{"accuracy": 0.981, "dataset": "digits-2024-03"}],
    )
    image: ImageTable = Field(
        default_factory=ImageTable,
        description="How the bundle becomes an image: by mdeploy itself, without a daemon, unless you name "
        "an engine.",
    )
    registry: RegistryTable = Field(
        default_factory=RegistryTable,
        description="Where bundles and images are kept for other machines. Without it, a folder of mdeploy's "
        "home.",
    )
    signing: SigningTable = Field(
        default_factory=SigningTable,
        description="Who signs bundles and images, and whose signatures count.",
    )
    scan: ScanTable = Field(
        default_factory=ScanTable,
        description="How `mdeploy scan` looks for known vulnerabilities in the locked packages.",
    )
    policy: dict[Name, PolicyTable] = Field(
        default_factory=dict,
        description="What a bundle must have behind it before it may go to the target of that name.",
    )
    targets: dict[Name, AnyTargetTable] = Field(
        default_factory=dict, description="Named places to run, each with its own table."
    )
    env: Environments = Field(
        default_factory=dict,
        description="What is different in an environment: tables that are laid over the ones above by "
        "`--env NAME`.",
    )
