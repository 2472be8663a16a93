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
from functools import partial
from pathlib import Path

import jwt

from bench.machine import BOTH_CORES, DATA, PYTHON, ROOT, SERVER_CORE, TOOLS, on
from tests.support.node import node
from tests.support.processes import ServerDidNotStart, free_port, listens
from tests.support.stack import Stack

REFERENCES = Path(__file__).parent / "references"
START_TIMEOUT_S = 30
SECRET = "bench-only-secret-of-more-than-32-characters"
# The limits count each request, and refuse none.
UNLIMITED = dict.fromkeys(("RATE_LIMIT_DEFAULT", "RATE_LIMIT_STORE_IMAGE", "RATE_LIMIT_LOGIN"), "999999999/minute")


def _nothing() -> None:
    """Leave everything as it is."""


def bearer(name: str) -> dict[str, str]:
    """Return the headers of a user who has signed in."""
    now = int(time.time())
    claims = {"sub": name, "username": name, "iss": "keepsake", "aud": "keepsake", "iat": now, "exp": now + 3600}
    return {"Authorization": f"Bearer {jwt.encode({**claims, 'jti': uuid.uuid4().hex}, SECRET, 'HS256')}"}


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
def fastapi(
    app: str, *, workers: int = 1, cores: frozenset[int] = SERVER_CORE, folder: Path | None = None
) -> Iterator[Server]:
    """Run a FastAPI reference as uvicorn is run for speed: uvloop, httptools, no access log."""
    port = free_port()
    command: list[str | Path] = [
        PYTHON, "-m", "uvicorn", f"bench.references.{app}:app", "--app-dir", ROOT, "--port", str(port), "--workers", str(workers),
        "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip
    environment = {"UPLOADS": str(folder)} if folder else {}
    with process(command, port, cores=cores, environment=environment) as pid:
        yield Server(port, [pid], partial(put_away, folder, "*") if folder else _nothing)


@contextmanager
def flask(folder: Path, *, promises: bool = True) -> Iterator[Server]:
    """Run the Flask reference under gunicorn: two processes of eight threads, keep-alive, on all cores."""
    port = free_port()
    command: list[str | Path] = [
        PYTHON, "-m", "gunicorn", "--chdir", ROOT, "--bind", f"127.0.0.1:{port}", "--workers", "2",
        "--worker-class", "gthread", "--threads", "8", "--keep-alive", "60", "--log-level", "warning",
        "--no-control-socket", "bench.references.flask_keep:app",
    ]  # fmt: skip
    environment = {"UPLOADS": str(folder), "PROMISES": "all" if promises else "none"}
    with process(command, port, cores=BOTH_CORES, environment=environment) as pid:
        yield Server(port, [pid], partial(put_away, folder, "*"))


@contextmanager
def express(folder: Path) -> Iterator[Server]:
    """Run the Express reference in production mode, on all cores: sharp has threads of its own."""
    port = free_port()
    command: list[str | Path] = [node(), REFERENCES / "express_keep.js", str(port), TOOLS / "node", folder]
    with process(command, port, cores=BOTH_CORES, environment={"NODE_ENV": "production"}) as pid:
        yield Server(port, [pid], partial(put_away, folder, "*"))


@contextmanager
def media_store_at(commit: str, folder: Path) -> Iterator[Server]:
    """Run this repository's media-store as it was at a commit, with today's packages and what it needed beside them."""
    tree, port = TOOLS / "commits" / commit, free_port()
    if not tree.exists():
        done = subprocess.run(["git", "-C", ROOT, "archive", commit], check=False, capture_output=True)
        if done.returncode:
            raise ServerDidNotStart(f"commit {commit}: {done.stderr.decode()}")
        tree.mkdir(parents=True)
        subprocess.run(["tar", "-x", "-C", tree], input=done.stdout, check=True)
    environment = {
        "PYTHONPATH": f"{tree}{os.pathsep}{TOOLS / 'before'}",
        "DATA_DIR": str(folder),
        "HOST": "127.0.0.1",
        "MEDIA_STORE_PORT": str(port),
        **dict.fromkeys(("JWT_SECRET_KEY", "INTERNAL_SECRET"), SECRET),
        **UNLIMITED,
    }
    command = [sys.executable, "-P", "-m", "services.media_store"]  # not from where this runs
    with process(command, port, cores=BOTH_CORES, environment=environment) as pid:
        yield Server(port, [pid], partial(put_away, folder, "objects/**/*"))


@contextmanager
def nginx(files: Path) -> Iterator[Server]:
    """Run nginx: `/files/` are those in the folder. Raises ServerDidNotStart where it is not installed."""
    if shutil.which("nginx") is None:
        raise ServerDidNotStart("nginx is not on the PATH (Debian: apt-get install nginx-light)")
    port = free_port()
    folder = TOOLS / f"nginx-{port}"
    folder.mkdir(parents=True)
    text = (REFERENCES / "nginx.conf").read_text()
    for name, value in (("@PORT@", str(port)), ("@FILES@", str(files))):
        text = text.replace(name, value)
    (folder / "nginx.conf").write_text(text)
    try:
        with process(["nginx", "-p", folder, "-c", "nginx.conf"], port, cores=SERVER_CORE) as pid:
            yield Server(port, [pid])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def keepsake(
    folder: Path, *names: str, cores: frozenset[int] = SERVER_CORE, settings: Mapping[str, str] | None = None
) -> Iterator[dict[str, Server]]:
    """Run processes of ours, with every check, limit, metric and request id on; give each by its name."""
    folder.mkdir(parents=True, exist_ok=True)
    stack = Stack(folder, {**UNLIMITED, **(settings or {})})

    def empty() -> None:
        put_away(folder / "var", "temp-images/[0-9a-f][0-9a-f]/*", "objects/**/*")

    try:
        with on(cores):
            stack.start(*names)
        yield {name: Server(stack.ports[name], [stack.pid(name)], empty) for name in names}
    finally:
        stack.stop_all()
        put_away(folder, "**/*")
