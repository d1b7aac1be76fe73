"""Heads: what is accepted means the same to llhttp, whatever bytes it is made of."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modeldeploy.serving.server.head import Head, Heads, accepted_id

GOOD = b"POST /predict?a=1 HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\nX-Thing: a\r\nx-thing:\tb \r\n\r\n"


def read_head(head: bytes) -> Head | None:
    """By a reader that remembers nothing."""
    return Heads().read(head)


def test_a_plain_head_is_read() -> None:
    head = read_head(GOOD)
    assert head is not None
    assert (head.method, head.path, head.query, head.length) == ("POST", "/predict", "a=1", 5)
    assert head.headers == {"host": "here", "content-length": "5", "x-thing": "a, b"}
    assert not head.close
    assert head.request_id is None


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",  # no host
        b"GET / HTTP/1.0\r\nHost: h\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /a%62 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /\xc3\xa4 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\nHost: h\n\n",
        b"GET / HTTP/1.1\r\nHost: h\n\r\n",
        b"GET / HTTP/1.1\rHost: h\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : h\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",  # folded
        b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x7fb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX\x80: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 01\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1_0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \xb2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close, keep-alive\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\ntrailing",
        b"GET / HTTP/1.1\r\nHost: h\r\n",
    ],
)
def test_everything_odd_is_left_to_the_other_parser(head: bytes) -> None:
    assert read_head(head) is None


def test_an_offer_of_http2_with_a_body_is_read_as_the_request_that_it_is() -> None:
    """As Java's HttpClient sends it unless it is told not to; httptools would drop the body."""
    java = (
        b"POST /predict HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: 5\r\nHost: h\r\n"
        b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\n\r\n"
    )
    head = read_head(java)
    assert head is not None
    assert (head.length, head.close) == (5, False)
    for other in (b"Connection: Upgrade", b"Connection: close", b"Connection: Upgrade, X"):
        assert read_head(java.replace(b"Connection: Upgrade, HTTP2-Settings", other)) is None
    assert read_head(java.replace(b"h2c", b"websocket")) is None
    assert read_head(java.replace(b"Upgrade: h2c\r\n", b"")) is None


def test_a_head_that_was_seen_is_remembered_and_memory_is_bounded() -> None:
    heads = Heads()
    assert heads.read(GOOD) is heads.read(GOOD)
    for number in range(1000):
        assert heads.read(GOOD.replace(b"a=1", b"a=%d" % number)) is not None
    assert len(heads._known) <= 256
    assert len(heads._starts) <= 256
    long = GOOD.replace(b"a=1", b"a" * 2000)
    assert heads.read(long) is not heads.read(long)
    unique = GOOD.replace(b"X-Thing", b"X-Request-Id")
    assert heads.read(unique) is not heads.read(unique)


def test_a_clients_id_is_kept_only_if_it_is_printable_and_short() -> None:
    assert accepted_id("a-1 b") == b"a-1 b"
    assert accepted_id("a" * 128) == b"a" * 128
    for bad in ("", "a" * 129, "a\tb", "ä", "\x7f", " a", "a "):
        assert accepted_id(bad) is None


class Llhttp:
    """What llhttp makes of bytes, set up as uvicorn does."""

    def __init__(self, data: bytes) -> None:
        self.url, self.body = b"", b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.begun = self.complete = 0
        self.keep_alive = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.keep_alive = self.parser.should_keep_alive()
        self.method = self.parser.get_method()
        self.version = self.parser.get_http_version()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete += 1


PIECES = st.sampled_from(
    [
        *(b"\r\n", b"\n", b"\r", b" ", b"\t", b"\x00", b":", b",", b"\x80", b"\xff", b"\x0b", b"\x7f", b"#"),
        *(b"?", b"%00", b"/", b"//", b"..", b";", b"\\", b"0", b"1", b"-", b"+", b"GET ", b"HTTP/1.0", b"|"),
        *(b"Content-Length: 3\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n "),
        *(b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Expect: 100-continue\r\n", b"\r\n\r\n"),
        *(b"Transfer-Encoding:\x0bchunked\r\n", b"Transfer-Encoding : chunked\r\n", b"Upgrade: h2c\r\n"),
        *(b"Proxy-Connection: close\r\n", b"Keep-Alive: 3\r\n", b"Connection: te\r\n", b"Host: b\r\n"),
    ]
)
NAMES = st.sampled_from([b"Accept", b"x-request-id", b"Connection", b"Content-Type", b"!#$%&'*+-.^_`|~9"])
VALUES = st.binary(max_size=12) | st.sampled_from([b"close", b"keep-alive", b"Close", b"application/json"])


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Heads that are in order, and such with a few bytes changed."""
    method = draw(st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"]))
    target = draw(
        st.sampled_from([b"/", b"/predict", b"/a/b.c?d=e&f=%20", b"/?", b"//a", b"/:80", b"/@x?y?z"])
    )
    lines = [b"%b %b HTTP/1.1" % (method, target), b"Host: here"]
    lines += [b"%b:%b" % header for header in draw(st.lists(st.tuples(NAMES, VALUES), max_size=4))]
    lines.insert(draw(st.integers(1, len(lines))), b"Content-Length: 5")
    head = b"\r\n".join([*lines, b"", b""])
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(head)))
        head = head[:at] + draw(PIECES | st.binary(max_size=2)) + head[at + draw(st.integers(0, 3)) :]
    return head


SEASONED = Heads()


@settings(max_examples=600, deadline=None)
@example(GOOD)
@given(heads())
def test_an_accepted_head_means_the_same_to_llhttp(data: bytes) -> None:
    head = read_head(data)
    assert SEASONED.read(data) == head  # what it remembers of others changes nothing
    if head is None:
        return
    sent = head.length if head.length < 10_000 else 0
    other = Llhttp(data + (b"\r\n" * sent)[:sent])
    query = b"?" + head.query.encode() if b"?" in data.split(b" ")[1] else b""
    assert (other.method, other.version) == (head.method.encode(), "1.1")
    assert other.url == head.path.encode() + query
    parsed = httptools.parse_url(other.url)
    assert (parsed.path or b"", parsed.query or b"") == (head.path.encode(), head.query.encode())
    joined: dict[str, str] = {}
    for raw_name, raw_value in other.headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1").strip(" \t")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    assert joined == head.headers
    assert other.keep_alive is not head.close
    assert not other.parser.should_upgrade()
    if head.length < 10_000:
        assert (other.begun, other.complete, len(other.body)) == (1, 1, head.length)
        other.parser.feed_data(GOOD)  # the next request begins where we say it does
        assert other.begun == (1 if head.close else 2)  # nothing comes after "close": we end it, too


@settings(max_examples=150, deadline=None)
@given(heads().filter(lambda data: read_head(data) is not None), st.integers(1, 9))
def test_where_a_body_ends_is_the_same_to_llhttp(data: bytes, less: int) -> None:
    head = read_head(data)
    assert head is not None
    if not less <= head.length < 10_000:
        return
    other = Llhttp(data + b"x" * (head.length - less))
    assert other.complete == 0
    other.parser.feed_data(b"x" * less)
    assert other.complete == 1
