"""A thumbnail of a 12-megapixel JPEG: ours, and libvips's in a process of its own, in turn."""

from __future__ import annotations

import statistics
import subprocess
import time
from pathlib import Path

from bench.bodies import photo
from bench.load import require
from bench.machine import DATA, PYTHON, SERVER_CORE, on
from shared.images import decode_worker

ROUNDS = 7
LIBVIPS = """
import os, sys, time
os.environ["VIPS_CONCURRENCY"] = "1"
import pyvips
source, target = sys.argv[1:]
for _ in sys.stdin:
    started = time.perf_counter()
    pyvips.Image.thumbnail(source, 400, height=400, size="down").webpsave(target, Q=80)
    print(time.perf_counter() - started, flush=True)
"""


def measure() -> dict[str, float]:
    """Return the median milliseconds of both for a WebP of at most 400 pixels a side, on one core, and their ratio."""
    source, folder = photo("12 MP").path, DATA / "thumbnails"
    folder.mkdir(parents=True, exist_ok=True)
    ours: list[float] = []
    theirs: list[float] = []
    with (
        on(SERVER_CORE),
        subprocess.Popen(
            [PYTHON, "-c", LIBVIPS, source, folder / "theirs.webp"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as libvips,
    ):
        for _ in range(ROUNDS):
            ours.append(_ours(source, folder / "ours.webp"))
            print("go", file=libvips.stdin, flush=True)
            theirs.append(float(libvips.stdout.readline() if libvips.stdout else "nan"))
        if libvips.stdin:
            libvips.stdin.close()
    require(
        all((folder / name).read_bytes()[8:12] == b"WEBP" for name in ("ours.webp", "theirs.webp")), "no WebP came out"
    )
    # The first of each loads its library.
    mine, other = statistics.median(ours[1:]) * 1000, statistics.median(theirs[1:]) * 1000
    return {"ours_ms": mine, "libvips_ms": other, "ratio": mine / other}


def _ours(source: Path, target: Path) -> float:
    target.touch()  # the workers make it before, so that it has its owner's rights
    started = time.perf_counter()
    decode_worker.thumbnail(source, target)
    return time.perf_counter() - started
