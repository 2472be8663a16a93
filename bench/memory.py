"""What 64 uploads of 5 MB at once add to a process, and what each process of the stack holds when nothing happens."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import socket
import threading
import time
import uuid
from contextlib import ExitStack
from pathlib import Path

from bench import servers
from bench.bodies import FORM_TYPE, form, photo
from bench.comparisons import UPLOAD
from bench.load import ask, require
from bench.machine import BOTH_CORES, DATA, ROOT, forget_peak, memory_kib, session
from bench.servers import Server
from tests.support.stack import MODULES, running_stack

AT_ONCE = 64
PIECE_BYTES = 64 * 1024
START_PATIENCE_S = 60


def _upload_together(port: int) -> None:
    """Send 64 forms in step, so that all of them are under way at the same time; each must be answered 200."""
    body = form(photo("12 MP").data, {})
    head = (
        f"POST {UPLOAD} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM_TYPE}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    ).encode()
    together = threading.Barrier(AT_ONCE)
    answers: list[bytes] = []

    def upload() -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(head)
            half = len(body) // 2
            for start in range(0, len(body), PIECE_BYTES):
                if start <= half < start + PIECE_BYTES:
                    together.wait(60)  # all of them are half-way now
                connection.sendall(body[start : start + PIECE_BYTES])
            answers.append(connection.recv(64))

    threads = [threading.Thread(target=upload) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    right = sum(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
    require(right == AT_ONCE, f"{AT_ONCE - right} of {AT_ONCE} simultaneous uploads were not answered 200")


def _peak_growth_mib(port: int, pid: int) -> float:
    before = memory_kib(pid, "VmRSS")
    forget_peak(pid)
    _upload_together(port)
    return (memory_kib(pid, "VmHWM") - before) / 1024


def growth() -> dict[str, float]:
    """Return by how many MiB the resident memory of each peaks above what it was before 64 uploads at once."""
    with ExitStack() as stack:
        ours = stack.enter_context(servers.keepsake(DATA / uuid.uuid4().hex, "temp-image", "gateway", cores=BOTH_CORES))
        fastapi = stack.enter_context(servers.fastapi("fastapi_memory", cores=BOTH_CORES))
        measured: dict[str, tuple[int, Server]] = {
            "temp-image": (ours["temp-image"].port, ours["temp-image"]),
            "gateway": (ours["gateway"].port, ours["gateway"]),
            "FastAPI, which keeps the images in it": (fastapi.port, fastapi),
        }
        return {name: _peak_growth_mib(port, server.leaders[0]) for name, (port, server) in measured.items()}


def idle_mib(pids: dict[str, int]) -> dict[str, float]:
    """Return the resident memory of each process with its children."""
    return {name: sum(memory_kib(one, "VmRSS") for one in session(pid)) / 1024 for name, pid in pids.items()}


def _healthy(port: int) -> bool:
    try:
        status, body = ask(port, "GET", "/health")
    except OSError:
        return False
    return status == 200 and json.loads(body)["status"] == "healthy"


def of_stack() -> tuple[float, dict[str, float]]:
    """Start the whole stack; return the seconds until all of it is healthy, and the MiB each process holds 2 s later."""
    folder = DATA / uuid.uuid4().hex
    folder.mkdir(parents=True)
    started = time.monotonic()
    try:
        with running_stack(folder) as stack:
            while not _healthy(stack.ports["gateway"]):
                require(time.monotonic() - started < START_PATIENCE_S, "the stack did not become healthy")
                time.sleep(0.02)
            took_s = time.monotonic() - started
            time.sleep(2)
            return took_s, idle_mib({name: stack.pid(name) for name in MODULES})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def installed_mib() -> dict[str, float]:
    """Return the size of each distribution of the runtime set, the largest first."""
    locked = re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    sizes: dict[str, float] = {}
    for name in locked:
        try:
            files = importlib.metadata.files(name) or []
        except importlib.metadata.PackageNotFoundError:  # pinned for another platform
            continue
        paths = (Path(str(file.locate())) for file in files)
        sizes[name] = sum(path.stat().st_size for path in paths if path.is_file()) / 2**20
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))
