"""The machine: which core serves and which one loads, what its processes have used, and the versions of everything."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.node import node

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".bench"
DATA = Path(os.environ.get("BENCH_DATA", TOOLS / "data"))
PYTHON = TOOLS / "venv" / "bin" / "python"
TICKS = os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = frozenset({CORES[0]})
LOAD_CORE = frozenset({CORES[-1]})
BOTH_CORES = SERVER_CORE | LOAD_CORE


@contextmanager
def on(cores: frozenset[int]) -> Iterator[None]:
    """Let what is started in the block run on these cores alone: a child inherits its parent's."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def session(leader: int) -> list[int]:
    """Return the processes of the session that `leader` began, and of those that these began: a server with its workers."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    stats = {pid: stat for pid in pids if (stat := _stat(pid)) is not None}
    found: list[int] = []
    leaders = [leader]
    while leaders:
        its = [pid for pid, stat in stats.items() if int(stat[3]) in leaders]
        found += its
        leaders = [
            pid for pid, stat in stats.items() if int(stat[3]) == pid and int(stat[1]) in its and pid not in found
        ]
    return found


def cpu_s(leaders: list[int]) -> float:
    """Return the processor seconds that these sessions have used, with the children that have ended."""
    stats = (_stat(pid) for leader in leaders for pid in session(leader))
    return sum(sum(map(int, stat[11:15])) for stat in stats if stat is not None) / TICKS


def machine_cpu_s() -> float:
    """Return the processor seconds that everybody on this machine has used."""
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / TICKS


def memory_kib(pid: int, field: str) -> int:
    """Return a size from the process's status: `VmRSS`, `VmHWM` (its peak), `RssAnon`."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def forget_peak(pid: int) -> None:
    """Let `VmHWM` begin again at what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _said(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "not installed"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+(?:\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else "?"


def _pinned(lock: Path, *names: str) -> dict[str, str]:
    text = lock.read_text()
    return {name: found[1] for name in names if (found := re.search(rf"^{name}==(\S+)", text, re.MULTILINE))}


def versions() -> dict[str, str]:
    """Return the version of everything that takes part."""
    ours = ("aiohttp", "uvloop", "pillow", "multipart", "pydantic", "sqlalchemy")
    theirs = _pinned(
        Path(__file__).parent / "requirements.lock",
        "fastapi",
        "uvicorn",
        "flask",
        "gunicorn",
        "python-multipart",
        "pyvips",
    )
    modules = {
        name: found[1]
        for name in ("express", "multer", "sharp")
        if (
            found := re.search(
                rf'node_modules/{name}": {{\s+"version": "([^"]+)"',
                (Path(__file__).parent / "node" / "package-lock.json").read_text(),
            )
        )
    }
    return {
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ours},
        **theirs,
        "node": _said(str(node()), "--version"),
        **modules,
        "nginx": _said("nginx", "-v"),
    }


def description() -> str:
    """Describe the machine without naming it."""
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    gib = round(int(memory[1]) / 2**20) if memory else 0
    name = cpu[1].strip() if cpu else platform.machine()
    return f"{name}, {len(CORES)} cores, {gib} GiB of memory, {platform.system()} {platform.release().split('-')[0]}"
