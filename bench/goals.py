"""What is to be reached: ratios of our answers a second to the other side's, in the same run, by size."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """`ours` shall give at least `floors[size]` times the answers a second of `other`."""

    comparison: str
    ours: str
    other: str
    floors: dict[str, float]


def _sizes(*floors: float) -> dict[str, float]:
    return dict(zip(("50 KB", "1 MB", "5 MB"), floors, strict=True))


GOALS = (
    Goal("upload", "Keepsake, on disk", "FastAPI", _sizes(3.0, 2.2, 2.7)),
    Goal("upload", "Keepsake, on disk", "Express", _sizes(3.0, 2.2, 2.7)),
    Goal("pairs", "Keepsake, on disk", "FastAPI", _sizes(2.2, 1.9, 2.0)),
    Goal("pairs", "Keepsake, on disk", "Express", _sizes(2.2, 1.9, 2.0)),
    Goal("redis", "Keepsake", "FastAPI, base64 in JSON", _sizes(3.3, 5.0, 4.0)),
    Goal("redis", "Keepsake", "FastAPI, raw bytes", _sizes(1.8, 1.6, 1.5)),
    Goal("store_image", "Keepsake", "Flask", _sizes(5.0, 4.0, 4.0)),
    Goal("serve", "Keepsake", "nginx", _sizes(0.07, 0.33, 0.45)),
    Goal("gateway_upload", "Keepsake's gateway", "nginx", _sizes(0.12, 0.35, 0.45)),
    Goal("gateway_json", "Keepsake's gateway", "plain aiohttp proxy", {"small": 2.0}),
    Goal("token", "Keepsake", "FastAPI", {"small": 2.2}),
    Goal("whole_upload", "gateway and temp-image", "FastAPI", _sizes(1.2, 1.5, 1.5)),
    Goal("whole_pairs", "gateway and temp-image", "FastAPI", _sizes(1.2, 1.5, 1.5)),
)

NAMES = {
    "upload": "upload",
    "pairs": "upload + retrieve",
    "redis": "upload + retrieve through Redis",
    "store_image": "`/store-image` on disk",
    "serve": "serve a stored image",
    "gateway_json": "small JSON through a proxy",
    "gateway_upload": "upload through a proxy",
    "token": "token + small JSON",
    "whole_upload": "upload through gateway and service, two cores",
    "whole_pairs": "upload + retrieve through both, two cores",
    "workers": "two worker processes",
}

TITLES = {
    "upload": "Uploads to temp-image",
    "pairs": "Uploads to temp-image, each with its retrieve (pairs a second)",
    "redis": "The same through Redis, which runs on the load's core (pairs a second)",
    "store_image": "`POST /store-image`: ours decodes each image and strips its metadata, Flask writes what came",
    "serve": "Serving a stored image",
    "gateway_json": "A small JSON answer through a proxy, a raw socket sink behind it",
    "gateway_upload": "Uploads through a proxy, a raw socket sink behind it",
    "token": "A bearer token checked, its claims answered as JSON; 64 tokens in turn",
    "whole_upload": "Uploads through gateway and service, on disk, and into FastAPI's memory with nothing before it",
    "whole_pairs": "The same with the retrieves (pairs a second)",
    "workers": "One and two processes of temp-image, on two cores that the load shares",
}

GROWTH_MIB = {"temp-image": 64, "gateway": 32}
IDLE_MIB = {"temp-image": 80, "gateway": 80}
IDLE_OTHERS_MIB = 130
START_S = 10
THUMBNAIL_RATIO = 1.5
