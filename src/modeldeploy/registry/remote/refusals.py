"""What people are told when a registry says no, nonsense, or nothing at all."""

from __future__ import annotations

import json
import re

from modeldeploy.errors import RegistryRefused, RegistryUnavailable

_LONGEST_SAID = 200
WRONG_SCHEME = "HTTP request to an HTTPS server"
"""What a server for TLS (in Go, nginx, Apache: their wording varies around it) says to plain HTTP."""


class Broken(Exception):
    """One exchange did not come to its end. Trying again may help; users never see this itself.

    ``before_contact``: nobody was there, so that the request cannot have had an effect.
    """

    def __init__(self, reason: str, *, before_contact: bool = False, pause: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.before_contact = before_contact
        self.pause = pause
        """Seconds that the registry asks us to wait."""


def printable(text: str) -> str:
    """What a stranger said, on one line, without control characters, and not long."""
    said = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(said.split())[:_LONGEST_SAID]


def said(body: bytes, content_type: str) -> str:
    """The reason in the body of an error: the registry's own words, or what kind of page it is."""
    if is_page(body, content_type):
        return "a web page"
    try:
        first = json.loads(body)["errors"][0]
        return printable(f"{first.get('code', '')}: {first.get('message', '')}".strip(": "))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return printable(body.decode(errors="replace"))


def is_unknown(reason: str) -> bool:
    """Whether a 404 is a registry's own, with a code such as NAME_UNKNOWN: others mean nothing."""
    return bool(re.match(r"[A-Z][A-Z_]+(:|$)", reason))


def is_page(body: bytes, content_type: str) -> bool:
    """Whether this is for a browser: a login portal or a proxy stands between, or it is no registry."""
    return "html" in content_type.lower() or body.lstrip()[:9].lower().startswith((b"<!doctype", b"<html"))


def nonsense(host: str, asked: str, came: str) -> RegistryRefused:
    """The answer is not what the protocol says."""
    return RegistryRefused(
        f"{host} was asked for {asked} and sent {came}",
        hint=f"check that registry.url names a registry, and that no proxy stands before {host}",
        details={"host": host, "asked": asked, "came": came},
    )


def refused(host: str, asked: str, status: int, reason: str) -> RegistryRefused:
    """The registry answered with an error that trying again does not change."""
    details: dict[str, object] = {"host": host, "asked": asked, "status": status, "said": reason}
    if WRONG_SCHEME.lower() in reason.lower():
        return RegistryRefused(
            f"{host} speaks TLS, and registry.url begins with http://",
            hint=f"write https://{host} in registry.url",
            details=details,
        )
    hint = {
        405: "the registry does not allow this: ask who runs it",
        413: f"a proxy before {host} limits the size of a request: raise it to 32 MB there",
    }.get(status, f"check registry.url and what {host} says in its log")
    return RegistryRefused(
        f"{host} was asked for {asked} and answered {status}{f' ({reason})' if reason else ''}",
        hint=hint,
        details=details,
    )


def login_wanted(
    host: str, asked: str, user: str | None, notes: tuple[str, ...], *, known: bool = True
) -> RegistryRefused:
    """No credentials, or they are not enough; ``known``: the registry may know them."""
    if not user:
        message = f"{host} wants a login before it lets anybody at {asked}"
    elif known:
        message = f"{host} does not let the user {printable(user)} at {asked}"
    else:
        message = f"{host} does not accept the password (or token) of the user {printable(user)}"
    if notes:
        message += f"; {'; '.join(notes)}"
    return RegistryRefused(
        message,
        hint=f"docker login {host} (or podman login {host}), "
        "or set registry.username and registry.password in the project file",
        details={"host": host, "asked": asked, "user": user},
    )


def unanswered(host: str, asked: str, reason: str, tries: int, *, met: bool) -> RegistryUnavailable:
    """Still nothing after all tries; ``met``: it answered something before."""
    times = "once" if tries == 1 else f"{tries} times"
    return RegistryUnavailable(
        f"{host} was asked {times} for {asked}: {reason}",
        hint="run the same command again: it goes on where this one ended"
        if met
        else "check registry.url, that the registry runs, and the network of this machine",
        details={"host": host, "asked": asked, "tries": tries, "reason": reason},
    )
