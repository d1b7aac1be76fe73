"""Registries are reached through the proxy that the environment names."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from modeldeploy.errors import RegistryUnavailable
from modeldeploy.registry.remote import RemoteRegistry
from modeldeploy.registry.remote.patience import Patience


@contextmanager
def refusing_proxy(asked: list[bytes]) -> Iterator[int]:
    """Notes what is asked of it, and refuses all of it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(4096))
                    connection.sendall(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_the_proxy_is_asked_with_its_own_password_which_no_error_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bytes] = []
    with refusing_proxy(asked) as port:
        monkeypatch.setenv("https_proxy", f"http://ada:hunter%402@127.0.0.1:{port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        patience = Patience(strangers=2, first=0.01)
        place = RemoteRegistry("https://registry.example/team", patience=patience)
        with pytest.raises(RegistryUnavailable, match="proxy") as failed:
            place.repository("digits").tags()

    assert asked[0].startswith(b"CONNECT registry.example:443 ")
    assert base64.b64encode(b"ada:hunter@2") in asked[0]
    assert "hunter" not in repr(failed.value) + str(failed.value.details) + str(failed.value.hint)
