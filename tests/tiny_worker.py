"""A small real worker: HTTP on a unix socket, ready after a while, able to misbehave on request.

Stands for a bundle's worker where a test is about supervision and not about models.
"""

import os
import socket
import sys
import threading
import time

NAME = os.environ.get("NAME", "")
DELAY = float(os.environ.get("START_DELAY", "0"))
STARTED = time.monotonic()

state = {"ready": True, "hung": False}


def answer(connection: socket.socket) -> None:
    connection.settimeout(60)
    with connection, connection.makefile("rb") as stream:
        while line := stream.readline():
            path = line.decode().split()[1]
            length, keep = 0, True
            while (header := stream.readline().strip().lower()) != b"":
                if header.startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
                if header == b"connection: close":
                    keep = False
            stream.read(length)
            status, body = respond(path)
            connection.sendall(
                f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body.encode()
            )
            if not keep:
                return


def respond(path: str) -> tuple[int, str]:
    while state["hung"]:
        time.sleep(0.05)
    if path == "/readyz":
        ready = state["ready"] and time.monotonic() - STARTED >= DELAY
        return (200, "ready") if ready else (503, "model is loading")
    if path == "/crash":
        print("told to crash", flush=True)
        os._exit(3)
    if path in {"/unready", "/hang"}:
        state.update(ready=path != "/unready", hung=path == "/hang")
    if path.startswith("/slow"):
        time.sleep(float(path.removeprefix("/slow/")))
    if path == "/env":
        return 200, "\n".join(f"{name}={value}" for name, value in sorted(os.environ.items()))
    return 200, f"{NAME} {os.getpid()}"


def main() -> None:
    path = sys.argv[1]
    print(f"worker {NAME} starts", flush=True)
    if "EXIT_CODE" in os.environ:
        print("cannot load the model: it is not there", flush=True)
        sys.exit(int(os.environ["EXIT_CODE"]))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen(256)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=answer, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
