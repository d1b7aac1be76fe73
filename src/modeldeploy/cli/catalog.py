"""The commands by name and task: all that ``mdeploy --help`` needs, and it needs no other module."""

from __future__ import annotations

GROUPS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Start",
        (
            ("init", "make a new project from a template"),
            ("check", "look for problems in the project, its model and this machine"),
            ("doctor", "look for what this machine lacks, and say how to get it"),
        ),
    ),
    (
        "Build",
        (
            ("lock", "resolve the requirements and pin them with hashes"),
            ("build", "turn the model into a bundle"),
            ("test", "start the bundle here, replay its golden samples, stop it"),
            ("golden", "record what the model answers now as its golden samples"),
            ("bench", "measure the bundle on this machine: requests/s, latency, memory"),
            ("optimize", "find a quicker or smaller form of the model that is as exact"),
            ("scan", "look for known vulnerabilities, and for code in model files"),
        ),
    ),
    (
        "Look at bundles",
        (
            ("bundles", "list the bundles on this machine"),
            ("inspect", "print all that is known of a bundle"),
            ("why", "say what makes two bundles differ"),
            ("gc", "remove what nothing on this machine needs any more"),
        ),
    ),
    (
        "Share",
        (
            ("image", "build the bundle's container image, without a daemon"),
            ("push", "send a bundle and its images to the registry"),
            ("pull", "fetch a bundle from the registry"),
            ("verify", "check every byte of a bundle, and its signatures"),
            ("alias", "point a name such as @staging to a bundle"),
            ("keygen", "make a pair of keys to sign with"),
            ("sign", "sign a bundle and its images in the registry"),
        ),
    ),
    (
        "Ship",
        (
            ("plan", "show what a deploy would change; changes nothing"),
            ("deploy", "roll a bundle out on a target, step by step, judged by numbers"),
            ("promote", "take what is stable on one target to the next"),
            ("approve", "record that you approve a bundle for a target"),
            ("predict", "send one request to a target's endpoint"),
        ),
    ),
    (
        "Watch",
        (
            ("status", "show what runs, and who gets how much traffic"),
            ("history", "list the rollouts of a target"),
            ("logs", "print what a revision wrote"),
            ("audit", "print who did what, or check that nobody changed the log"),
            ("at", "say what was live at a time"),
            ("trace", "from an answer back to bundle, commit and approver"),
        ),
    ),
    (
        "Undo and repair",
        (
            ("rollback", "give all traffic to a former revision"),
            ("resume", "go on with a rollout that stands still"),
            ("abort", "end a rollout that stands still: all traffic to stable"),
            ("up", "bring back what should be running, after a reboot"),
            ("destroy", "remove everything that a target runs"),
        ),
    ),
    (
        "More",
        (
            ("completion", "print the script that completes mdeploy's words in your shell"),
            ("schema", "print the JSON Schema of modeldeploy.toml, for editors"),
            ("version", "print the versions of mdeploy and of what it runs on"),
        ),
    ),
)
"""Task by task, each command with what it does: the order and the words of ``mdeploy --help``."""

MODULES = {
    "check": "project",
    "doctor": "project",
    "init": "project",
    "build": "bundles",
    "golden": "bundles",
    "lock": "bundles",
    "test": "bundles",
    "bench": "tuning",
    "optimize": "tuning",
    "bundles": "store",
    "gc": "store",
    "inspect": "store",
    "scan": "store",
    "why": "store",
    "alias": "sharing",
    "image": "sharing",
    "keygen": "sharing",
    "pull": "sharing",
    "push": "sharing",
    "sign": "sharing",
    "verify": "sharing",
    "approve": "promotion",
    "at": "promotion",
    "audit": "promotion",
    "promote": "promotion",
    "trace": "promotion",
    "abort": "rollouts",
    "deploy": "rollouts",
    "destroy": "rollouts",
    "plan": "rollouts",
    "resume": "rollouts",
    "rollback": "rollouts",
    "up": "rollouts",
    "history": "watch",
    "logs": "watch",
    "predict": "watch",
    "status": "watch",
    "completion": "more",
    "schema": "more",
    "version": "more",
}
"""The module below `modeldeploy.cli.commands` whose function of the same name runs a command."""


def names() -> list[str]:
    """All commands, in the order in which help lists them."""
    return [name for _, commands in GROUPS for name, _ in commands]


def summary(name: str) -> str:
    """What a command does, in one line."""
    return next(text for _, commands in GROUPS for known, text in commands if known == name)


def overview() -> str:
    """What ``mdeploy --help`` prints."""
    lines = [
        "mdeploy: take a trained model to safe production, and back, with one declarative file.",
        "",
        "Usage: mdeploy COMMAND [TARGET] [options]",
    ]
    for group, commands in GROUPS:
        lines += ["", f"{group}:"]
        lines += [f"  {name:<11} {text}" for name, text in commands]
    return "\n".join([*lines, *_OVERVIEW_END])


_OVERVIEW_END = (
    "",
    "Examples:",
    "  mdeploy init digits --template onnx    a project that works at once",
    "  mdeploy build                          its model as a bundle: digits:1.0.0",
    "  mdeploy deploy local                   run it, and print the endpoint",
    "  mdeploy status                         see who answers there",
    "",
    "Help on a command: mdeploy COMMAND --help. Version: mdeploy --version.",
    "TARGET is a [targets.NAME] of modeldeploy.toml; leave it out where there is only one.",
)
