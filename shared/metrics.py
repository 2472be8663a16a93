"""The metrics every process keeps, and its `/metrics` page (Prometheus text format)."""

from __future__ import annotations

import asyncio
from functools import cache

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # they double the page and say what the counter's rate says

REQUESTS = Counter("keepsake_http_requests_total", "Requests answered.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "keepsake_http_request_seconds",
    "Time from a request's head to the end of its answer.",
    ["route"],
    buckets=(0.005, 0.02, 0.1, 0.5, 2.0, 8.0, 30.0),
)
IN_FLIGHT = Gauge("keepsake_http_in_flight", "Requests being answered now.")
SPANS = Counter("keepsake_trace_spans_total", "Spans of traces by their end: exported, lost.", ["end"])
IMAGE_WORK_SECONDS = Histogram(
    "keepsake_image_work_seconds",
    "Time an image was with a worker, by what it did with it, until the request that waits for it goes on.",
    ["work"],
    buckets=(0.005, 0.02, 0.1, 0.5, 2.0, 8.0, 20.0),
)
IMAGE_WAIT_SECONDS = Histogram(
    "keepsake_image_wait_seconds",
    "Time images waited for a worker, until the request that waits goes on.",
    buckets=(0.005, 0.02, 0.1, 0.5, 2.0, 8.0, 30.0),
)
IMAGES_WAITING = Gauge("keepsake_images_waiting", "Images that wait for a worker now.")
IMAGES_CONVERTED = Counter(
    "keepsake_images_converted_total",
    "Images that are not kept as they were sent: heic or avif made a JPEG, or rewritten from their pixels.",
    ["what"],
)
CLAIMS_SETTLED = Counter(
    "keepsake_claims_settled_total",
    "One-time deliveries by their end: confirm, release, already_released (by the service itself), lapsed.",
    ["end"],
)
REVOCATIONS_UNKNOWN = Counter(
    "keepsake_revocations_unknown_total", "Tokens accepted while the list of revoked sessions was out of reach."
)


def _count_tasks() -> float:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # asked outside the loop
        return float("nan")


Gauge("keepsake_tasks", "asyncio tasks that have not ended.").set_function(_count_tasks)


def begin_at_zero(counter: Counter, *labels: str) -> None:
    """Show these series from the start: of one that begins with its first event, Prometheus sees no increase."""
    for label in labels:
        counter.labels(label)


@cache  # `labels()` takes a lock and formats its key: remembering what it gives makes counting a dictionary lookup
def request_metrics(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Return what counts and what times an answered request; `route` is the table's pattern, never the raw path."""
    return REQUESTS.labels(method, route, str(status)), REQUEST_SECONDS.labels(route)
