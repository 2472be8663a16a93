"""The servers that take part: ours as they are deployed, the references, and the limits; each on the cores it is given."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.machine import DATA, PYTHON, SERVER_CORE, TOOLS, on, redis_server
from tests.support.processes import ServerDidNotStart, free_port, listens
from tests.support.stack import Stack

REFERENCES = Path(__file__).parent / "references"
START_TIMEOUT_S = 30
ENOUGH = "999999999/minute"  # the limits count each request, and refuse none


def _nothing() -> None:
    """Leave everything as it is."""


def put_away(folder: Path, *parts: str) -> None:
    """Cut the files that uploads left to nothing and move them aside until all is measured.

    Deleted by the thousand, they would slow down the next runs of all sides: ext4 looks past each inode that was
    given back in the last minutes whenever it makes a file.
    """
    aside = DATA / "aside" / uuid.uuid4().hex
    aside.mkdir(parents=True)
    for part in parts:
        for path in folder.glob(part):
            with suppress(OSError):  # gone, or taken meanwhile
                if path.is_file():
                    os.truncate(path, 0)
                    path.rename(aside / f"{path.parent.name}-{path.name}")


@dataclass(frozen=True)
class Server:
    """A server that runs: where it listens, its session leaders, and how to drop what uploads left with it."""

    port: int
    leaders: Sequence[int]
    empty: Callable[[], None] = _nothing


@contextmanager
def process(
    command: Sequence[str | Path], port: int, *, cores: frozenset[int], environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run a server until the block ends; give its pid once it listens."""
    log = TOOLS / "logs" / f"{Path(str(command[0])).name}-{port}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output, on(cores):
        running = subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not listens(port):
            if running.poll() is not None or time.monotonic() > deadline:
                raise ServerDidNotStart(f"{command[0]}: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        yield running.pid
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextmanager
def uvicorn(app: str, *, cores: frozenset[int] = SERVER_CORE, **environment: str) -> Iterator[Server]:
    """Run a FastAPI reference as uvicorn is run for speed: uvloop, httptools, no access log."""
    port = free_port()
    command: list[str | Path] = [
        PYTHON, "-m", "uvicorn", f"{app}:app", "--app-dir", REFERENCES, "--port", str(port),
        "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip
    with process(command, port, cores=cores, environment=environment) as pid:
        yield Server(port, [pid])


@contextmanager
def express(*, cores: frozenset[int] = SERVER_CORE) -> Iterator[Server]:
    """Run the Express reference in production mode."""
    port = free_port()
    command: list[str | Path] = ["node", REFERENCES / "express_memory.js", str(port), TOOLS / "node"]
    with process(command, port, cores=cores, environment={"NODE_ENV": "production"}) as pid:
        yield Server(port, [pid])


@contextmanager
def flask(folder: Path, *, cores: frozenset[int] = SERVER_CORE) -> Iterator[Server]:
    """Run the Flask reference under gunicorn: one worker, a thread for each connection, keep-alive."""
    port = free_port()
    command: list[str | Path] = [
        PYTHON, "-m", "gunicorn", "--chdir", REFERENCES, "--bind", f"127.0.0.1:{port}", "--workers", "1",
        "--worker-class", "gthread", "--threads", "16", "--keep-alive", "60", "--log-level", "warning",
        "--no-control-socket", "flask_store:app",
    ]  # fmt: skip

    def empty() -> None:
        put_away(folder, "*")

    with process(command, port, cores=cores, environment={"UPLOADS": str(folder)}) as pid:
        yield Server(port, [pid], empty)


@contextmanager
def aiohttp_proxy(upstream: int, *, cores: frozenset[int] = SERVER_CORE) -> Iterator[Server]:
    """Run the plain proxy, on uvloop's rival: asyncio's own loop, as `web.run_app` does."""
    port = free_port()
    command: list[str | Path] = [PYTHON, REFERENCES / "aiohttp_proxy.py", str(port), f"http://127.0.0.1:{upstream}"]
    with process(command, port, cores=cores) as pid:
        yield Server(port, [pid])


@contextmanager
def sink(*, cores: frozenset[int] = SERVER_CORE) -> Iterator[Server]:
    """Run the raw socket sink."""
    port = free_port()
    with process([sys.executable, REFERENCES / "sink.py", str(port)], port, cores=cores) as pid:
        yield Server(port, [pid])


@contextmanager
def nginx(upstream: int, files: Path, *, cores: frozenset[int] = SERVER_CORE) -> Iterator[Server]:
    """Run nginx: `/files/` are those in the folder, everything else goes to the port `upstream`."""
    port = free_port()
    folder = TOOLS / f"nginx-{port}"
    folder.mkdir(parents=True)
    text = (REFERENCES / "nginx.conf").read_text()
    for name, value in (("@PORT@", str(port)), ("@UPSTREAM@", str(upstream)), ("@FILES@", str(files))):
        text = text.replace(name, value)
    (folder / "nginx.conf").write_text(text)
    try:
        with process(["nginx", "-p", folder, "-c", "nginx.conf"], port, cores=cores) as pid:
            yield Server(port, [pid])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def redis(*, cores: frozenset[int]) -> Iterator[Server]:
    """Run a Redis that keeps nothing on disk."""
    port = free_port()
    command: list[str | Path] = [
        redis_server(), "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no",
    ]  # fmt: skip
    with process(command, port, cores=cores) as pid:
        yield Server(port, [pid])


@contextmanager
def keepsake(
    folder: Path, *names: str, cores: frozenset[int] = SERVER_CORE, settings: Mapping[str, str] | None = None
) -> Iterator[dict[str, Server]]:
    """Run processes of ours, with every check, limit, metric and request id on; give each by its name."""
    folder.mkdir(parents=True, exist_ok=True)
    limits = dict.fromkeys(("RATE_LIMIT_DEFAULT", "RATE_LIMIT_STORE_IMAGE", "RATE_LIMIT_LOGIN"), ENOUGH)
    stack = Stack(folder, {**limits, **(settings or {})})

    def empty() -> None:
        put_away(folder / "var", "temp-images/[0-9a-f][0-9a-f]/*", "objects/**/*")

    try:
        with on(cores):
            stack.start(*names)
        yield {name: Server(stack.ports[name], [stack.pid(name)], empty) for name in names}
    finally:
        stack.stop_all()
        put_away(folder, "**/*")
