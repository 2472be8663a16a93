"""What is to be reached: ratios of ours to the other side's, in the same run, by size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.comparisons import BEFORE


@dataclass(frozen=True)
class Goal:
    """`ours` shall be `floors[size]` times as good as `other`, and better `goals[size]` times.

    By `rate`, that is answers a second; by `cpu`, how many times our processor time for an answer the other needs.
    """

    comparison: str
    ours: str
    other: str
    by: Literal["rate", "cpu"]
    floors: dict[str, tuple[float, float]]


def _photos(*floors: tuple[float, float]) -> dict[str, tuple[float, float]]:
    return dict(zip(("50 KB", "1 MB", "12 MP"), floors, strict=True))


SAME_WORK = _photos((1.0, 1.3), (1.25, 1.45), (1.6, 1.9))
MEMORY = "FastAPI, in memory"
GOALS = (
    Goal("store_image", "Keepsake", f"Keepsake at {BEFORE}", "rate", _photos((3.0, 4.0), (1.7, 2.0), (1.8, 2.2))),
    Goal("store_image", "Keepsake", "FastAPI", "rate", SAME_WORK),
    Goal("store_image", "Keepsake", "Flask", "rate", SAME_WORK),
    Goal("store_image", "Keepsake", "Express", "rate", _photos((3.0, 3.7), (4.0, 4.5), (4.0, 4.5))),
    Goal("upload", "Keepsake, on disk", MEMORY, "cpu", {"50 KB": (1.3, 1.8), "1 MB": (0.9, 1.1)}),
    Goal("pairs", "Keepsake, on disk", MEMORY, "cpu", {"50 KB": (1.1, 1.5)}),
    Goal("whole", "gateway and temp-image", MEMORY, "rate", {"50 KB": (1.2, 1.5)}),
    Goal("serve", "Keepsake", "nginx", "cpu", {"50 KB": (0.1, 0.15), "1 MB": (0.4, 0.5)}),
)

NAMES = {
    "store_image": "`/store-image`",
    "upload": "upload",
    "pairs": "upload + retrieve",
    "whole": "upload through gateway and service",
    "serve": "serve a stored image",
}

TITLES = {
    "store_image": "`POST /store-image`: decoded whole, file and folder synced, a row committed; two cores, shared with the load",
    "upload": "Uploads to temp-image, one core",
    "pairs": "Uploads to temp-image, each with its retrieve (pairs a second)",
    "whole": "Uploads through gateway and service, on disk, and into FastAPI's memory with nothing before it; two cores",
    "serve": "Serving a stored image, one core",
}

DROPPED = {
    "uploads 3 times as many a second as FastAPI or Express, pairs 2.2 times": "They were a prototype's that checked nothing "
    "and kept nothing. A server that keeps the bytes in its memory promises less; it is compared by processor time alone.",
    "`/store-image` 5 times as many a second as Flask that writes what came": "That reference checks nothing and syncs nothing. "
    "It stands beside, and the goal is now against servers that do the same work.",
    "uploads and retrieves through Redis": "Redis is for shops with several machines, where it is chosen for that and not for "
    "its speed; most of what it costs is its own round trips.",
    "small JSON and uploads through the gateway, to nginx and to a plain proxy": "What is felt is a call through gateway and "
    "service. That is measured as a whole, and so is how long it takes while the machine works.",
    "a token checked, to FastAPI": "It is a fifth of a millisecond, and no part of a photo's way.",
    "pairs through gateway and service, to FastAPI without a gateway": "Five requests and answers were compared with two.",
    "5 MB served, to nginx": "It was reached; most of it is the kernel's sendfile on both sides.",
}

P99_FLOOR_MS = 25
P99_GOAL_MS = 10
GROWTH_MIB = {"temp-image": 64, "gateway": 32}
IDLE_MIB = {"temp-image": 80, "gateway": 80}
IDLE_OTHERS_MIB = 130
START_S = 10
THUMBNAIL_RATIO = 1.5
