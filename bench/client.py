"""The load: some kept connections that ask again and again, each answer looked at; run as a process of its own.

`python -m bench.client SPEC`, SPEC being a `Load` as JSON; it prints a `Told` as JSON. What is under way when the time is up is
waited for, so that all that a server worked on is counted.
"""

from __future__ import annotations

import heapq
import json
import re
import selectors
import socket
import statistics
import sys
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

PIECE_BYTES = 4 * 2**20
PATIENCE_S = 30
LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
IMAGE_ID = re.compile(rb'"imageId": ?"([0-9a-f]+)"')
Answer = tuple[int, bytes]
Talk = Generator[bytes, Answer, None]


class WrongAnswer(Exception):
    """A server answered something else than it should."""


@dataclass(frozen=True)
class Load:
    """What to ask: a request, or uploads that each have their retrieve.

    `body` and `image` are files; `expected` must be in each answer, which is thrown away in the kernel where it is empty.
    `image` makes each upload be followed by its retrieve, whose bytes must be that file's. `a_second` is how often
    something is begun, 0 for as often as it can.
    """

    port: int
    path: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    expected: str = ""
    image: str = ""
    retrieve: str = ""
    connections: int = 16
    seconds: float = 2.0
    a_second: float = 0.0


@dataclass(frozen=True)
class Told:
    """What came: how many were right and wrong, in how many seconds, and how long the last request of each took, in ms."""

    good: int
    wrong: int
    seconds: float
    median_ms: float
    p99_ms: float


def _request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    if body:
        headers = {**headers, "Content-Length": str(len(body))}
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _talk(load: Load) -> Talk:
    """Yield the requests of one round, and look at their answers. Raises WrongAnswer."""
    body = Path(load.body).read_bytes() if load.body else b""
    image = Path(load.image).read_bytes() if load.image else b""
    first, expected = _request(load.method, load.path, load.headers, body), load.expected.encode()
    while True:
        status, answer = yield first
        if status != 200 or expected not in answer:
            raise WrongAnswer(f"{status}: {answer[:200]!r}")
        if image:
            image_id = IMAGE_ID.search(answer)
            if image_id is None or (yield _request("GET", load.retrieve + image_id[1].decode(), {})) != (200, image):
                raise WrongAnswer("other bytes came back")
        yield b""  # a round is over


class Caller:
    """One connection, and where it is in its talk."""

    def __init__(self, load: Load, selector: selectors.BaseSelector, buffer: bytearray) -> None:
        self._load, self._selector, self._buffer = load, selector, buffer
        self._talk = _talk(load)
        self._next = next(self._talk)
        self._connection = socket.create_connection(("127.0.0.1", load.port))
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection.setblocking(False)
        self.times_ms: list[float] = []
        self._events = selectors.EVENT_READ
        selector.register(self._connection, self._events, self)

    def begin(self) -> None:
        """Send the next request."""
        self._started = time.perf_counter()
        self._head, self._content, self._left = b"", bytearray(), -1
        self._unsent = memoryview(self._next)
        self.go_on(selectors.EVENT_WRITE)

    def go_on(self, events: int) -> bool:
        """Send or read what can be; say whether a round is over. Raises OSError or WrongAnswer."""
        if events & selectors.EVENT_WRITE:
            self._send()
        return bool(events & selectors.EVENT_READ) and self._read()

    def close(self) -> None:
        """Give the connection up."""
        self._selector.unregister(self._connection)
        self._connection.close()

    def _send(self) -> None:
        with suppress(BlockingIOError):
            self._unsent = self._unsent[self._connection.send(self._unsent) :]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        if events != self._events:
            self._selector.modify(self._connection, events, self)
            self._events = events

    def _read(self) -> bool:
        if self._left < 0:
            self._head += self._receive(65536)
            head, end, rest = self._head.partition(b"\r\n\r\n")
            if not end:
                return False
            length = LENGTH.search(head)
            if length is None:
                raise WrongAnswer("an answer without a length")
            self._content += rest
            self._left = int(length[1]) - len(rest)
        elif self._load.expected:
            piece = self._receive(min(self._left, PIECE_BYTES))
            self._content += piece
            self._left -= len(piece)
        else:  # tcp(7): with MSG_TRUNC the received bytes are discarded, not copied
            count = self._connection.recv_into(self._buffer, min(self._left, PIECE_BYTES), socket.MSG_TRUNC)
            if not count:
                raise ConnectionResetError
            self._left -= count
        return not self._left and self._answered()

    def _receive(self, most: int) -> bytes:
        piece = self._connection.recv(most)
        if not piece:
            raise ConnectionResetError
        return piece

    def _answered(self) -> bool:
        took_ms = (time.perf_counter() - self._started) * 1000
        self._next = self._talk.send((int(self._head[9:12]), bytes(self._content)))
        if self._next:
            self.begin()
            return False
        self.times_ms.append(took_ms)
        self._next = next(self._talk)
        return True


def run(load: Load) -> Told:
    """Load for that long, then wait for what is under way."""
    selector, buffer = selectors.DefaultSelector(), bytearray(PIECE_BYTES)
    callers = [Caller(load, selector, buffer) for _ in range(load.connections)]
    started = time.monotonic()
    pause_s = load.connections / load.a_second if load.a_second else 0.0
    due = [(started + pause_s * number / load.connections, number) for number in range(load.connections)]
    numbers = {caller: number for number, caller in enumerate(callers)}
    begun_at: dict[Caller, float] = {}
    wrong = 0
    while due or begun_at:
        now = time.monotonic()
        while due and due[0][0] <= now:
            at, number = heapq.heappop(due)
            begun_at[callers[number]] = at
            callers[number].begin()
        if begun_at and now > started + load.seconds + PATIENCE_S:
            break
        for key, events in selector.select(max(0.0, due[0][0] - now) if due else 1.0):
            caller: Caller = key.data
            try:
                over = caller.go_on(events)
            except (OSError, WrongAnswer) as error:
                sys.stderr.write(f"{error!r}\n")
                wrong += 1
                begun_at.pop(caller, None)
                caller.close()
                continue
            if over:
                again = max(begun_at.pop(caller) + pause_s, now)
                if again < started + load.seconds:
                    heapq.heappush(due, (again, numbers[caller]))
    seconds = time.monotonic() - started
    times = sorted(took for caller in callers for took in caller.times_ms) or [float("nan")]
    good = sum(len(caller.times_ms) for caller in callers)
    return Told(good, wrong + len(begun_at), seconds, statistics.median(times), times[int(len(times) * 0.99)])


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(run(Load(**json.loads(sys.argv[1]))))))
