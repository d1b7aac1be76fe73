"""Logging in to a registry: basic authentication, or tokens from the server that it names.

A registry is asked without credentials first. They are looked up once it wants some, and go nowhere but to
the registry itself and to the token server of its challenge.

Source: https://distribution.github.io/distribution/spec/auth/token/ and .../auth/oauth/
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from modeldeploy.config.places import is_loopback
from modeldeploy.registry.remote import refusals
from modeldeploy.registry.remote.address import shown
from modeldeploy.registry.remote.challenge import Challenge, challenges
from modeldeploy.registry.remote.credentials import Credentials, Found
from modeldeploy.registry.remote.refusals import Broken
from modeldeploy.registry.remote.wire import LARGEST_ERROR, Answer, Ask, Wire

Scopes = frozenset[str]
_SHORTEST = 60
"""Seconds that a token holds when its server does not say; the specification's number."""
_MARGIN = 0.1
"""This part of a token's life is not used: it may expire on the way."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a token server gave."""

    value: str = field(repr=False)
    until: float
    """By this machine's monotonic clock."""

    @property
    def authorization(self) -> str:
        """The value of the header."""
        return f"Bearer {self.value}"


class Auth:
    """What to say in ``Authorization``. Used by several threads."""

    def __init__(self, wire: Wire, look_up: Callable[[], Found]) -> None:
        self._wire, self._look_up = wire, look_up
        self._lock = threading.RLock()
        self._found: Found | None = None
        self._offer: Challenge | None = None
        self._tokens: dict[Scopes, Token] = {}

    @property
    def user(self) -> str | None:
        """Whose credentials were used; None before they were needed, and without any."""
        credentials = self._found.credentials if self._found else None
        return (credentials.username or "of the identity token") if credentials else None

    @property
    def is_basic(self) -> bool:
        """Passwords are sent to the registry itself."""
        return self._offer is not None and self._offer.scheme == "basic"

    @property
    def notes(self) -> tuple[str, ...]:
        """What stood in the way of credentials."""
        return self._found.notes if self._found else ()

    def authorization(self, scopes: Scopes) -> str | None:
        """The header's value for a request that needs these scopes; None before the registry asked."""
        with self._lock:
            if self._offer is None:
                return None
            if self._offer.scheme == "basic":
                credentials = self._credentials()
                return credentials.basic() if credentials else None
            token = self._tokens.get(scopes)
            if token is None or time.monotonic() >= token.until:
                token = self._tokens[scopes] = self._fetch(self._offer, scopes)
            return token.authorization

    def challenged(self, header: str, scopes: Scopes, used: str | None) -> bool:
        """The registry wants a login. Whether there is now something better to say than what was ``used``."""
        with self._lock:
            known = {"bearer": 0, "basic": 1}
            offers = sorted(
                (each for each in challenges(header) if each.scheme in known),
                key=lambda each: known[each.scheme],
            )
            if not offers:
                return False
            self._offer = offers[0]
            token = self._tokens.get(scopes)
            if token and token.authorization == used:
                del self._tokens[scopes]
            # The same password again would be refused again; a token is made anew, it may have expired.
            fresh = self.authorization(scopes)
            return fresh is not None and fresh != used

    def _credentials(self) -> Credentials | None:
        if self._found is None:
            self._found = self._look_up()
        return self._found.credentials

    def _fetch(self, offer: Challenge, scopes: Scopes) -> Token:
        credentials, realm = self._credentials(), offer.parameters.get("realm", "")
        what = "a token"
        self._insist(realm, what)
        wanted = sorted(scopes) or [offer.parameters.get("scope", "")]
        service = offer.parameters.get("service", "")
        began = time.monotonic()
        ask, authorization = _token_request(realm, service, wanted, credentials)
        answer = self._wire_to(realm).send(ask, authorization)
        return _token(self._read(answer, what), answer, began, self._host(realm))

    def _insist(self, realm: str, what: str) -> None:
        """A token server gets the password: never without encryption, except on this machine."""
        try:
            parts = urlsplit(realm)
            safe = parts.scheme == "https" or (
                parts.scheme == "http"
                and self._wire.address.scheme == "http"
                and is_loopback(parts.hostname or "")
            )
        except ValueError:
            safe = False
        if not safe or not realm.isprintable():
            came = f"the address of a token server that is not safe: {shown(realm)}"
            raise refusals.nonsense(self._wire.address.host, what, came)

    def _host(self, realm: str) -> str:
        return urlsplit(realm).netloc.rpartition("@")[2]

    def _wire_to(self, realm: str) -> Wire:
        return self._wire.beside(realm)

    def _read(self, answer: Answer, what: str) -> dict[str, Any]:
        host = self._host(answer.url)
        try:
            body = answer.content(LARGEST_ERROR)
        except ValueError as error:
            raise refusals.nonsense(host, what, str(error)) from error
        if answer.status in (400, 401, 403):
            registry = self._wire.address.host
            raise refusals.login_wanted(registry, what, self.user, self.notes, known=answer.status == 403)
        if answer.status == 429 or answer.status >= 500:
            raise Broken(f"its token server {host} answered {answer.status}")
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        if answer.status != 200 or not isinstance(value, dict):
            raise refusals.refused(host, what, answer.status, refusals.said(body, answer.type))
        return value


def _token_request(
    realm: str, service: str, scopes: list[str], credentials: Credentials | None
) -> tuple[Ask, str | None]:
    """With an identity token by POST (OAuth 2), otherwise by GET with the password, or with nothing."""
    if credentials and credentials.identity_token:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": credentials.identity_token,
            "service": service,
            "scope": " ".join(scopes),
            "client_id": "mdeploy",
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return Ask("POST", realm, "a token", headers=headers, body=urlencode(form).encode()), None
    pairs = [("service", service)] * bool(service) + [("scope", scope) for scope in scopes if scope]
    if credentials:
        pairs.append(("account", credentials.username))
    joint = "&" if urlsplit(realm).query else "?"
    url = f"{realm}{joint}{urlencode(pairs)}" if pairs else realm
    return Ask("GET", url, "a token"), credentials.basic() if credentials else None


def _token(value: dict[str, Any], answer: Answer, began: float, host: str) -> Token:
    text = value.get("token") or value.get("access_token")
    if not isinstance(text, str) or not text.isascii() or not text.isprintable():
        raise refusals.nonsense(host, "a token", "none")
    return Token(text, began + _seconds(value, answer) * (1 - _MARGIN))


def _seconds(value: dict[str, Any], answer: Answer) -> float:
    """How long the token holds from now on: by its server's own clock, whatever ours shows."""
    lasts = value.get("expires_in")
    seconds = float(lasts) if isinstance(lasts, int | float) and 0 < lasts < 1e9 else float(_SHORTEST)
    try:
        issued = datetime.fromisoformat(str(value["issued_at"]))
        now = parsedate_to_datetime(answer.headers.get("Date", ""))
        return max(0.0, min(seconds, seconds - (now - issued).total_seconds()))
    except (KeyError, ValueError, TypeError):
        return seconds
