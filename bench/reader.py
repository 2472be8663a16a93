"""Loads a server with GETs and throws the bodies away in the kernel: for large files wrk, which copies them, is the slower side.

`python reader.py <port> <path> <connections> <seconds>`; it prints the line that wrk's scripts print.
"""

from __future__ import annotations

import re
import selectors
import socket
import sys
import time

PIECE_BYTES = 4 * 2**20
HEAD = re.compile(rb"HTTP/1\.1 200 .*?\r\ncontent-length: *([0-9]+)\r\n.*?\r\n\r\n", re.IGNORECASE | re.DOTALL)


class Asking:
    """One kept connection that asks again and again."""

    def __init__(self, port: int, request: bytes) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.connection.setblocking(False)
        self._request = request
        self.good = self.bad = self.read = 0
        self._ask()

    def _ask(self) -> None:
        self._left = -1  # the head is still to come
        self._head = b""
        self.connection.send(self._request)

    def go_on(self, buffer: bytearray) -> None:
        """Read what is there."""
        if self._left < 0:
            self._head += self.connection.recv(4096)
            if b"\r\n\r\n" not in self._head:
                return
            head = HEAD.match(self._head)
            if head is None:
                self.bad += 1
                raise ConnectionResetError
            self._left = int(head[1]) - (len(self._head) - head.end())
            self.read += len(self._head)
        else:
            # tcp(7): with MSG_TRUNC the received bytes are discarded, not copied.
            count = self.connection.recv_into(buffer, min(self._left, PIECE_BYTES), socket.MSG_TRUNC)
            if not count:
                raise ConnectionResetError
            self._left -= count
            self.read += count
        if not self._left:
            self.good += 1
            self._ask()


def main() -> None:
    """Load, and print what came."""
    port, path, connections, seconds = sys.argv[1:]
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    asking = [Asking(int(port), request) for _ in range(int(connections))]
    selector = selectors.DefaultSelector()
    for one in asking:
        selector.register(one.connection, selectors.EVENT_READ, one)
    buffer, broken, started = bytearray(PIECE_BYTES), 0, time.monotonic()
    while (elapsed := time.monotonic() - started) < float(seconds):
        for key, _ in selector.select(1):
            try:
                key.data.go_on(buffer)
            except OSError:
                broken += 1
                selector.unregister(key.fileobj)
    good, bad, read = (sum(getattr(one, name) for one in asking) for name in ("good", "bad", "read"))
    sys.stdout.write(f"BENCH {good} {bad} {broken} {elapsed * 1e6:.0f} {read}\n")


if __name__ == "__main__":
    main()
