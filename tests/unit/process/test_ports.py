"""Whether the endpoint's port is free, and who has it if not."""

import os
import socket

from modeldeploy.targets.process import ports
from process_place import free_port


def test_a_free_port_is_free() -> None:
    assert ports.why_not("127.0.0.1", free_port()) is None


def test_a_port_in_use_is_told_with_its_holder() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        why = ports.why_not("127.0.0.1", port)
    assert why is not None
    assert f"port {port} on 127.0.0.1 is in use" in why
    assert f"(pid {os.getpid()})" in why


def test_an_address_that_is_not_of_this_machine_is_told() -> None:
    assert "cannot listen on" in (ports.why_not("192.0.2.1", 8080) or "")
    assert "cannot listen on" in (ports.why_not("no.such.host.invalid", 8080) or "")
