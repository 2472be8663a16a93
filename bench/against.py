"""`python -m bench.against COMMIT`: `/store-image` of another commit and of this tree, in turn, by processor time.

The ratio of processor times says the same on a machine that others use. The other commit runs with this tree's packages;
what it needs beside them is installed first (`pip install pebble` for those before the workers had sockets).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.bodies import FORM_TYPE, SIZES, form, photo
from bench.comparisons import SECRET
from bench.load import ask, require
from bench.machine import BOTH_CORES, TOOLS, cpu_s
from bench.servers import process
from tests.support.processes import free_port

ROOT = Path(__file__).parents[1]
CONNECTIONS = 16
CALLS = {"50 KB": 320, "1 MB": 64, "5 MB": 16}


@contextmanager
def _service(tree: Path) -> Iterator[tuple[int, int]]:
    """Run media-store from a tree; give its port and its pid."""
    port = free_port()
    with tempfile.TemporaryDirectory(dir=TOOLS) as data:
        settings = {
            "PYTHONPATH": str(tree),
            "DATA_DIR": data,
            "HOST": "127.0.0.1",
            "MEDIA_STORE_PORT": str(port),
            "JWT_SECRET_KEY": SECRET,
            "INTERNAL_SECRET": SECRET,
        }
        command = [sys.executable, "-P", "-m", "services.media_store"]  # not from where this runs
        with process(command, port, cores=BOTH_CORES, environment=settings) as pid:
            yield port, pid


def _store(port: int, body: bytes, calls: int) -> None:
    def some() -> None:
        for _ in range(calls // CONNECTIONS):
            status, _ = ask(port, "POST", "/store-image", body, {"Content-Type": FORM_TYPE})
            require(status == 200, "an image was not stored")

    threads = [threading.Thread(target=some) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _used_ms(port: int, pid: int, size: str) -> float:
    before = cpu_s([pid])
    _store(port, form(photo(size).data, {}), CALLS[size])
    return (cpu_s([pid]) - before) / CALLS[size] * 1000


def main() -> None:
    """Measure and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m bench.against", description=__doc__)
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    other = TOOLS / "against"
    shutil.rmtree(other, ignore_errors=True)
    other.mkdir(parents=True)
    archive = subprocess.run(["git", "-C", ROOT, "archive", asked.commit], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", other], input=archive, check=True)
    with ExitStack() as stack:
        sides = [stack.enter_context(_service(tree)) for tree in (other, ROOT)]
        for size in SIZES:
            for side in sides:
                _used_ms(*side, size)
            taken = [[_used_ms(*side, size) for side in sides] for _ in range(asked.rounds)]
            theirs, ours = (statistics.median(column) for column in zip(*taken, strict=True))
            sys.stdout.write(f"{size}: {theirs:.2f} ms at {asked.commit}, {ours:.2f} ms here: {theirs / ours:.2f}\n")


if __name__ == "__main__":
    main()
