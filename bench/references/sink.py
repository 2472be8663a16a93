"""A raw socket sink: reads each request, finds its length, and sends one ready-made answer; nothing more can be saved.

`python sink.py <port>`; it is the limit for uploads, and the service behind the proxies that are compared.
"""

from __future__ import annotations

import re
import selectors
import socket
import sys

LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
BODY = b'{"imageId":"0123456789abcdef0123456789abcdef","success":true,"images":[],"count":0}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Client:
    """One connection, and how much of its request's body is still to come."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.head = b""
        self.left = 0

    def read(self, buffer: bytearray) -> bool:
        """Read what is there; tell whether the connection still stands."""
        try:
            count = self.connection.recv_into(buffer)
        except OSError:
            return False
        if not count:
            return False
        if self.left:
            self.left -= count
            if not self.left:
                self.connection.sendall(ANSWER)
            return True
        self.head += buffer[:count]
        end = self.head.find(b"\r\n\r\n")
        if end >= 0:
            length = LENGTH.search(self.head, 0, end + 2)
            self.left = (int(length[1]) if length else 0) - (len(self.head) - end - 4)
            self.head = b""
            if not self.left:
                self.connection.sendall(ANSWER)
        return True


def main() -> None:
    """Serve until killed."""
    listening = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=256)
    selector = selectors.DefaultSelector()
    selector.register(listening, selectors.EVENT_READ)
    buffer = bytearray(2**20)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                connection, _ = listening.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(connection, selectors.EVENT_READ, Client(connection))
            elif not key.data.read(buffer):
                selector.unregister(key.fileobj)
                key.data.connection.close()


if __name__ == "__main__":
    main()
