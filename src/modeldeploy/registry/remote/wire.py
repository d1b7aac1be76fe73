"""One request and one answer: connections, TLS, proxies, redirects, and limits on what is read.

Nothing here tries again: what may work a second time is raised as `Broken`.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urljoin, urlsplit

from modeldeploy.config.places import is_loopback
from modeldeploy.errors import ConfigError, RegistryRefused
from modeldeploy.registry.remote import refusals
from modeldeploy.registry.remote.address import Address, origin_of, shown
from modeldeploy.registry.remote.refusals import Broken

if TYPE_CHECKING:
    import urllib3

CONNECT = 10.0
READ = 60.0
"""Seconds without a byte, after which a connection counts as dead."""
LARGEST_ANSWER = 4 << 20
"""Bytes of a manifest or a list of tags: what the distribution specification asks registries to take."""
LARGEST_ERROR = 64 << 10
_REDIRECTS = 5
_PIECE = 1 << 16
_CONNECTIONS = 64
"""Kept open at most, for each host."""


class Readable(Protocol):
    """A body that is read as it is sent."""

    def read(self, most: int = -1, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Ask:
    """A request. ``what`` says it for people: "the tags of team/digits"."""

    method: str
    url: str
    what: str
    scopes: frozenset[str] = frozenset()
    """What a token has to allow."""
    fine: tuple[int, ...] = (200,)
    """Statuses that are no error."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Readable | None = None
    length: int | None = None
    """Bytes of a body that is a stream."""
    read: float = READ
    """Seconds without a byte, at most."""
    check: Callable[[], None] = lambda: None
    """Called right before each sending; may raise."""


class Answer:
    """What came back, read no further than asked for."""

    def __init__(self, response: urllib3.BaseHTTPResponse, url: str) -> None:
        self.status, self.headers, self.url = response.status, response.headers, url
        self._response = response
        self._chunked = "chunked" in self.headers.get("Transfer-Encoding", "").lower()

    @property
    def type(self) -> str:
        """Media type without parameters; empty where none came."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip()

    @property
    def length(self) -> int | None:
        """What the header says; None where it says nothing."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

    def content(self, most: int, within: float = READ) -> bytes:
        """The whole body. Raises `Broken` for one that ends early or never, ValueError for one too large."""
        deadline, parts, size = time.monotonic() + within, list[bytes](), 0
        while part := self.some(min(_PIECE, most + 1 - size)):
            parts.append(part)
            size += len(part)
            if size > most:
                self.drop()
                raise ValueError(f"more than {most} bytes")
            if time.monotonic() > deadline:
                self.drop()
                raise Broken(f"its answer did not end within {within:g} s")
        return b"".join(parts)

    def some(self, most: int) -> bytes:
        """Up to so many bytes, what there is now; none at the end."""
        with translated(), self._in_time():
            # read() would wait until there are so many, whatever time they take to come.
            return self._response.read1(most, decode_content=False)

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """The length of a chunk may come digit by digit, and each digit in time."""
        if not self._chunked:
            yield
            return
        from modeldeploy.registry.remote.hurry import within

        with within(READ, self._response.shutdown) as over:
            yield
        if over.is_set():
            raise Broken("its answer did not go on")

    def drop_body(self) -> None:
        """Nothing in it is of interest; the connection is kept where that is cheap."""
        try:
            self.content(_PIECE)
        except (Broken, ValueError):
            self.drop()

    def drop(self) -> None:
        """Close the connection: what is left in it is of no use."""
        self._response.close()
        self._response.release_conn()


class Wire:
    """Connections to one registry, and to where it redirects."""

    def __init__(self, address: Address, ca: Path | None) -> None:
        self.address = address
        self._context = _trust(ca) if address.scheme == "https" else None
        self._ca = ca
        self._pools: dict[str | None, urllib3.PoolManager] = {}
        self._beside: dict[str, Wire] = {}
        self._told: tuple[float, float] | None = None

    def beside(self, url: str) -> Wire:
        """For the token server of the registry: the same authorities, other connections."""
        origin = origin_of(url)
        if origin not in self._beside:
            scheme, _, host = origin.partition("://")
            self._beside[origin] = Wire(Address(scheme, host, ""), self._ca)
        return self._beside[origin]

    def now(self) -> float | None:
        """Unix seconds by the registry's clock, from its last ``Date``; None where it sends none."""
        told = self._told
        return told[0] + time.monotonic() - told[1] if told else None

    def send(self, ask: Ask, authorization: str | None) -> Answer:
        """One exchange, and those that its redirects lead to. Credentials go to the registry only."""
        url = ask.url
        for _ in range(_REDIRECTS + 1):
            headers = {"User-Agent": "mdeploy", "Accept-Encoding": "identity", **ask.headers}
            if authorization and origin_of(url) == self.address.origin:
                headers["Authorization"] = authorization
            answer = self._exchange(ask, url, headers)
            if answer.status not in (301, 302, 303, 307, 308):
                return answer
            answer.drop()
            if ask.method not in ("GET", "HEAD"):
                raise refusals.nonsense(self.address.host, ask.what, f"a redirect ({answer.status})")
            url = self.follow(url, answer.headers.get("Location", ""), ask.what)
        raise refusals.nonsense(self.address.host, ask.what, f"more than {_REDIRECTS} redirects")

    def follow(self, base: str, location: str, what: str) -> str:
        """The URL in a header ``Location``. Refuses other protocols, and the way back to plain HTTP."""
        try:
            url = urljoin(base, location)
            origin = origin_of(url)
        except ValueError:
            origin = ""
        host = self.address.host
        if not location or not origin or len(location) > 8192 or not location.isprintable():
            raise refusals.nonsense(host, what, "a redirect to nowhere")
        if origin.startswith("http:") and (
            self.address.scheme == "https" or not is_loopback(urlsplit(url).hostname or "")
        ):
            error = refusals.nonsense(host, what, f"a redirect to {shown(url)}, which is not encrypted")
            error.hint = f"the proxy before {host} has to tell it the protocol: X-Forwarded-Proto: https"
            raise error
        return url

    def _exchange(self, ask: Ask, url: str, headers: dict[str, str]) -> Answer:
        import urllib3

        if ask.length is not None:
            headers["Content-Length"] = str(ask.length)
        timeout = urllib3.Timeout(connect=min(CONNECT, ask.read), read=ask.read)
        body: Any = ask.body  # urllib3 asks for a whole file's methods and uses read() alone
        pool = self._pool(url)
        ask.check()
        with translated(self.address.host, self._ca):
            response = pool.urlopen(
                ask.method,
                url,
                redirect=False,
                body=body,
                headers=headers,
                retries=False,
                timeout=timeout,
                preload_content=False,
                decode_content=False,
            )
        if origin_of(url) == self.address.origin:
            self._read_clock(response.headers.get("Date", ""))
        return Answer(response, url)

    def _read_clock(self, date: str) -> None:
        try:
            self._told = parsedate_to_datetime(date).timestamp(), time.monotonic()
        except (ValueError, OverflowError):
            return

    def _pool(self, url: str) -> urllib3.PoolManager:
        import urllib3

        from modeldeploy.registry.remote.hurry import hurried

        proxy = proxy_for(url)
        if proxy not in self._pools:
            options: dict[str, Any] = {
                "num_pools": 8,
                "maxsize": _CONNECTIONS,
                "blocksize": _PIECE,
                "ssl_context": self._context or _trust(self._ca),
            }
            pool = _through(proxy, options) if proxy else urllib3.PoolManager(**options)
            self._pools[proxy] = hurried(pool)
        return self._pools[proxy]


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for a URL; none for this machine itself, as docker does it."""
    from urllib.request import getproxies_environment, proxy_bypass

    parts = urlsplit(url)
    proxies = getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    name = parts.hostname or ""
    if not proxy or is_loopback(name) or proxy_bypass(name):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _through(proxy: str, options: dict[str, Any]) -> urllib3.ProxyManager:
    """By way of a proxy, with the user and password in its URL, if there are any."""
    import urllib3

    parts = urlsplit(proxy)
    headers = None
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=pair)
    bare = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return urllib3.ProxyManager(bare, proxy_headers=headers, **options)


def _trust(ca: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca:
        try:
            context.load_verify_locations(ca)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"registry.ca: {os.fspath(ca)} holds no certificates that can be read",
                hint="it has to be the certificate of the authority, in PEM form",
            ) from error
    return context


@contextmanager
def translated(host: str = "the registry", ca: Path | None = None) -> Iterator[None]:
    """Errors of the network become `Broken`, those that will not go away become ours."""
    from urllib3 import exceptions as wrong

    try:
        yield
    except wrong.NameResolutionError as error:
        raise Broken("its name cannot be resolved", before_contact=True) from error
    except wrong.ProxyError as error:
        raise Broken(f"the proxy before it cannot be used ({_short(error)})", before_contact=True) from error
    except (wrong.SSLError, ssl.SSLError) as error:
        raise _tls(host, error, ca) from error
    except (wrong.NewConnectionError, wrong.ConnectTimeoutError) as error:
        raise Broken(f"no connection ({_short(error)})", before_contact=True) from error
    except wrong.LocationParseError as error:
        raise refusals.nonsense(host, "an address", "one that cannot be understood") from error
    except (wrong.HTTPError, OSError) as error:
        raise Broken(f"the connection broke ({_short(error)})") from error


def _short(error: BaseException) -> str:
    """The innermost reason: urllib3 wraps the system's own words several times."""
    while isinstance(inner := error.__cause__ or error.__context__, Exception):
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return refusals.printable(type(error).__name__)


def _tls(host: str, error: Exception, ca: Path | None) -> Exception:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate verify failed" in text or "doesn't match" in text:
        known = f" and {os.fspath(ca)}" if ca else ""
        reason = refusals.printable(text.rpartition("failed: ")[2].partition(" (_ssl")[0].rstrip("')"))
        return RegistryRefused(
            f"the certificate of {host} is not trusted: {reason} (asked: the system's authorities{known})",
            hint='for an authority of your own, set ca = "ca.pem" in [registry]',
        )
    if any(
        sign in text for sign in ("WRONG_VERSION_NUMBER", "RECORD_LAYER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")
    ):
        return RegistryRefused(
            f"{host} does not speak TLS, and registry.url begins with https://",
            hint=f"write http://{host} if it runs on this machine; elsewhere give it a certificate",
        )
    return Broken(f"TLS failed ({refusals.printable(text)})")
