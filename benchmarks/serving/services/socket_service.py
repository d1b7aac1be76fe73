"""Less than a server can be: one thread, one connection after the other, no HTTP beyond where a request ends.

It shows what the way over TCP and the answer cost at concurrency 1 whatever the server does, and no more
than that: no second client, no wrong request, no stop.
"""

import socket
import sys

import numpy as np
import orjson
from session import load

session = load()
memory = bytearray(64 * 1024 * 1024)


def served(connection: socket.socket) -> None:
    view = memoryview(memory)
    filled = end = 0
    while received := connection.recv_into(view[filled:]):
        filled += received
        if not end:
            head = memory.find(b"\r\n\r\n", 0, filled)
            if head < 0:
                continue
            lines = dict(line.lower().split(b": ", 1) for line in bytes(memory[:head]).split(b"\r\n")[1:])
            begin = head + 4
            end = begin + int(lines.get(b"content-length", b"0"))
        if filled >= end:
            body = answer(memory[begin:end]) if end > begin else b"ready"
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            filled = end = 0


def answer(body: bytearray) -> bytes:
    if body.startswith(b"{"):
        x = np.asarray(orjson.loads(body)["x"], dtype=np.float32)
    else:
        x = np.frombuffer(body, dtype=np.float32).reshape(1, 3, 224, 224)
    (y,) = session.run(["y"], {"x": x})
    return orjson.dumps({"y": y.tolist()})


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    accepted, _ = listener.accept()
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with accepted:
        try:
            served(accepted)
        except ConnectionError:  # the client ended
            continue
