from __future__ import annotations

import gzip
import hashlib
import io
import random

from modeldeploy.image import gz


class Dribble(io.BytesIO):
    """A stream that gives less than it is asked for, as pipes do."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 1, 777))


def test_the_output_is_gzip_of_the_content_and_says_its_own_digest() -> None:
    content = random.Random(1).randbytes(300_000) + bytes(900_000)
    out = io.BytesIO()
    digest, size = gz.compress(io.BytesIO(content), out)
    assert gzip.decompress(out.getvalue()) == content
    assert (digest, size) == (f"sha256:{hashlib.sha256(out.getvalue()).hexdigest()}", len(out.getvalue()))


def test_the_bytes_do_not_depend_on_the_pieces_that_the_content_comes_in() -> None:
    content = random.Random(2).randbytes(100_000) * 8
    whole, pieces = io.BytesIO(), io.BytesIO()
    assert gz.compress(io.BytesIO(content), whole) == gz.compress(Dribble(content), pieces)
    assert whole.getvalue() == pieces.getvalue()


def test_the_header_holds_no_name_and_no_time() -> None:
    out = io.BytesIO()
    gz.compress(io.BytesIO(b"x"), out)
    assert out.getvalue()[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


def test_nothing_compresses_too() -> None:
    out = io.BytesIO()
    gz.compress(io.BytesIO(b""), out)
    assert gzip.decompress(out.getvalue()) == b""
