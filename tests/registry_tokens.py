"""A small token server, as registries that use bearer tokens name one: real signatures, on loopback."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from registry_faults import Secured
from registry_place import PASSWORD, USER
from tls_place import authority

IDENTITY = "an-identity-token"


@dataclass
class Tokens:
    """The server; a test may change what it gives while it runs."""

    certificate: Path
    key: ec.EllipticCurvePrivateKey
    url: str = ""
    lifetime: int = 300
    anonymous: tuple[str, ...] = ()
    """What those may do who say nothing."""
    refuses: tuple[str, ...] = ()
    """Repositories of which nobody may do anything."""
    says_expiry: bool = True
    broken: int = 0
    """So many answers are 503."""
    asked: list[list[str]] = field(default_factory=list)
    """The scopes of each request."""
    ways: list[str] = field(default_factory=list)
    """How each was asked: ``GET`` or ``POST``, and with what login."""

    def token(self, user: str, scopes: list[str]) -> str:
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            allowed = [
                each
                for each in actions.split(",")
                if name not in self.refuses and (user or each in self.anonymous)
            ]
            access.append({"type": kind, "name": name, "actions": allowed})
        now = int(time.time())
        claims = {
            "iss": "tests", "sub": user, "aud": "tests", "exp": now + self.lifetime, "nbf": now - 10,
            "iat": now, "jti": str(time.monotonic_ns()), "access": access,
        }  # fmt: skip
        pem = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        chain = base64.b64encode(pem.public_bytes(serialization.Encoding.DER)).decode()
        header = {"typ": "JWT", "alg": "ES256", "x5c": [chain]}
        signed = f"{_packed(header)}.{_packed(claims)}"
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_text(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _packed(value: Any) -> str:
    return _text(json.dumps(value).encode())


@contextmanager
def token_server(folder: Path, *, secured: Secured | None = None) -> Iterator[Tokens]:
    """A token server that knows one user. ``secured``: it speaks TLS, with this certificate."""
    _, certificate, key = authority(folder)
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    bundle = folder / "bundle.pem"
    bundle.write_bytes(certificate.read_bytes())
    tokens = Tokens(bundle, loaded)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"tokens": tokens}))
    if secured:
        server.socket = secured.server().wrap_socket(server.socket, server_side=True)
    tokens.url = f"{'https' if secured else 'http'}://127.0.0.1:{server.server_address[1]}/token"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield tokens
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    tokens: Tokens

    def do_GET(self) -> None:
        self.answer(parse_qs(urlsplit(self.path).query), self.user())

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        user = USER if form.get("refresh_token") == [IDENTITY] else None
        form["scope"] = form["scope"][0].split(" ")
        self.answer(form, user)

    def user(self) -> str | None:
        said = self.headers.get("Authorization", "")
        if not said:
            return ""
        pair = base64.b64decode(said.partition(" ")[2]).decode()
        return USER if pair == f"{USER}:{PASSWORD}" else None

    def answer(self, form: dict[str, list[str]], user: str | None) -> None:
        self.tokens.asked.append(form.get("scope", []))
        self.tokens.ways.append(f"{self.command} {'somebody' if user else 'nobody'}")
        if self.tokens.broken:
            self.tokens.broken -= 1
            self.reply(503, {})
        elif user is None:
            self.reply(401, {"details": "incorrect username or password"})
        else:
            value: dict[str, Any] = {"token": self.tokens.token(user, form.get("scope", []))}
            if self.tokens.says_expiry:
                value["expires_in"] = self.tokens.lifetime
                value["issued_at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self.reply(200, value)

    def reply(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""
