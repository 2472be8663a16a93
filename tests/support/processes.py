"""Server processes that the tests start: on a free port of 127.0.0.1, awaited until they answer, ended by their pid."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_ATTEMPTS = 3
START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 10


class ServerDidNotStart(Exception):
    """A server that a test needs is not there; the message ends with what it logged."""


@dataclass(frozen=True)
class RunAs:
    """The user that a server runs as, where it must not be root."""

    uid: int
    gid: int


def free_port() -> int:
    """Return a TCP port that was free on both loopbacks a moment ago."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = int(probe.getsockname()[1])
            try:
                socket.create_server(("::1", port), family=socket.AF_INET6).close()
            except OSError:
                continue
            return port


def listens(port: int) -> bool:
    """Say whether somebody accepts connections at the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def server(
    command: Callable[[int], Sequence[str | Path]],
    *,
    log: Path,
    is_ready: Callable[[int], bool] = listens,
    environment: Callable[[int], Mapping[str, str]] | None = None,
    run_as: RunAs | None = None,
    stop_signal: int,
) -> Iterator[int]:
    """Run `command(port)` and give its port once `is_ready(port)`.

    Another process may take the free port first: the server then ends, and starts again on another one.
    """
    for _ in range(START_ATTEMPTS):
        port = free_port()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(word) for word in command(port)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if environment is None else dict(environment(port)),
                user=run_as.uid if run_as else None,
                group=run_as.gid if run_as else None,
                extra_groups=[] if run_as else None,
                cwd=log.parent,
                # Ctrl-C goes to pytest, which ends its servers itself.
                start_new_session=True,
            )
        try:
            if _became_ready(process, port, is_ready):
                yield port
                return
        finally:
            _stop(process, stop_signal)
    raise ServerDidNotStart(log.read_text(errors="replace")[-2000:])


def _became_ready(process: subprocess.Popen[bytes], port: int, is_ready: Callable[[int], bool]) -> bool:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        if is_ready(port):
            return process.poll() is None
        time.sleep(0.02)
    return False


def _stop(process: subprocess.Popen[bytes], stop_signal: int) -> None:
    if process.poll() is None:
        process.send_signal(stop_signal)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
