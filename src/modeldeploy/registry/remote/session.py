"""Requests to a registry with what surrounds each: logging in, trying again, saying what went wrong."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from modeldeploy.errors import ModelDeployError
from modeldeploy.registry.remote import refusals
from modeldeploy.registry.remote.address import Address
from modeldeploy.registry.remote.auth import Auth
from modeldeploy.registry.remote.patience import Patience, Tries
from modeldeploy.registry.remote.refusals import Broken
from modeldeploy.registry.remote.wire import LARGEST_ERROR, Answer, Ask, Wire

_BUSY = (408, 425, 429, 500, 502, 503, 504)
"""Answers after which the same may work later."""
_LOGINS = 2
"""A login that was made a moment ago and is not enough is not made again."""


class Session:
    """A registry, spoken to. Used by several threads."""

    def __init__(self, wire: Wire, auth: Auth, patience: Patience) -> None:
        self._wire, self._auth, self._patience = wire, auth, patience
        self._answered = False

    @property
    def address(self) -> Address:
        """Which registry this is."""
        return self._wire.address

    @property
    def host(self) -> str:
        """For messages."""
        return self._wire.address.host

    def now(self) -> float | None:
        """Unix seconds by the registry's clock, if it has told."""
        return self._wire.now()

    def url(self, repository: str, rest: str) -> str:
        """Where something of a repository is."""
        return f"{self.address.origin}/v2/{repository}/{rest}"

    def follow(self, base: str, location: str, what: str) -> str:
        """The URL in a header ``Location``."""
        return self._wire.follow(base, location, what)

    def tries(self, what: str) -> Tries:
        """For something that is tried again as a whole."""
        return Tries(self._patience, self.host, what, met=lambda: self._answered)

    def ask(self, ask: Ask) -> Answer:
        """One answer with a status that is fine, its body not read yet; tried several times."""
        tries = self.tries(ask.what)
        while True:
            try:
                return self.once(ask)
            except Broken as broken:
                tries.failed(broken)

    def once(self, ask: Ask) -> Answer:
        """The same, tried once: raises `Broken` where trying again may help.

        A body that is a stream is sent once: if the registry then wants a login, that too is `Broken`.
        """
        for _ in range(_LOGINS):
            authorization = self._auth.authorization(ask.scopes)
            answer = self._wire.send(ask, authorization)
            self._answered = True
            if answer.status in ask.fine:
                return answer
            if answer.status != 401:
                break
            answer.drop_body()
            wanted = answer.headers.get("WWW-Authenticate", "")
            if not self._auth.challenged(wanted, ask.scopes, authorization):
                break
            if ask.length:
                raise Broken("it wanted another login", pause=0.0)
        raise self._refusal(answer, ask.what)

    def text(self, answer: Answer, what: str, most: int) -> bytes:
        """The whole body of a good answer; too much of it, or a web page, is nonsense."""
        try:
            content = answer.content(most)
        except ValueError as error:
            raise refusals.nonsense(self.host, what, str(error)) from error
        if refusals.is_page(content, answer.type):
            raise refusals.nonsense(self.host, what, "a web page")
        return content

    def said(self, answer: Answer) -> str:
        """The reason in an answer that is an error."""
        try:
            return refusals.said(answer.content(LARGEST_ERROR), answer.type)
        except (Broken, ValueError):
            return ""

    def _refusal(self, answer: Answer, what: str) -> ModelDeployError | Broken:
        if answer.status == 401:
            return refusals.login_wanted(
                self.host, what, self._auth.user, self._auth.notes, known=not self._auth.is_basic
            )
        reason = self.said(answer)
        if answer.status in _BUSY:
            told = f"it answered {answer.status}{f' ({reason})' if reason else ''}"
            return Broken(told, pause=_asked_pause(answer))
        if answer.status == 403:
            return refusals.login_wanted(self.host, what, self._auth.user, self._auth.notes)
        return refusals.refused(self.host, what, answer.status, reason)


def _asked_pause(answer: Answer) -> float | None:
    """The header ``Retry-After``: seconds, or a date by the registry's clock."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        until = parsedate_to_datetime(text).timestamp()
        now = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, until - now)
