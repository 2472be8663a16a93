"""A photo's way in and out, through gateway and service, with the time of each step, while nothing else goes on.

media-store runs in this process, so that its steps can be watched; the gateway is a process of its own, and so is the worker.
What the worker does is done here once more, step by step.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from bench import servers
from bench.bodies import FORM_TYPE, form, photo
from bench.comparisons import STORE, data_folder
from bench.load import require
from bench.machine import BOTH_CORES
from services.media_store.adapters.sql.images import SqlImages
from services.media_store.app import build_app
from services.media_store.handlers import images as taking
from services.media_store.handlers import serving as showing
from services.media_store.service.images import ImageService
from services.media_store.settings import MediaStoreSettings
from shared.images import decode_worker
from shared.images.decode_pool import ImageWorkers
from shared.images.validation import ImageFormat, ImageLimits
from shared.objects.factory import open_object_store
from tests.support.serving import serving

TIMES = 15
Marks = dict[str, float]
Steps = dict[str, float]


@contextmanager
def _watched(owner: Any, name: str, marks: Marks) -> Iterator[None]:
    """Note when the function was called, and when it was done."""
    original: Callable[..., Any] = getattr(owner, name)

    @wraps(original)
    def watched(*args: Any, **options: Any) -> Any:
        marks[f"{name} begins"] = time.perf_counter()
        try:
            return original(*args, **options)
        finally:
            marks[f"{name} ends"] = time.perf_counter()

    @wraps(original)
    async def watched_async(*args: Any, **options: Any) -> Any:
        marks[f"{name} begins"] = time.perf_counter()
        try:
            return await original(*args, **options)
        finally:
            marks[f"{name} ends"] = time.perf_counter()

    setattr(owner, name, watched_async if inspect.iscoroutinefunction(original) else watched)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _ask(connection: HTTPConnection, *request: Any, marks: Marks) -> bytes:
    marks["asked"] = time.perf_counter()
    connection.request(*request)
    answer = connection.getresponse()
    body = answer.read()
    marks["answered"] = time.perf_counter()
    require(answer.status == 200, f"{request[1]} was answered {answer.status}")
    return body


def _between(marks: Marks, steps: dict[str, tuple[str, str]]) -> Steps:
    return {step: (marks[end] - marks[start]) * 1000 for step, (start, end) in steps.items()}


IN = {
    "the head, through the gateway": ("asked", "read_form begins"),
    "the body, and the form taken apart": ("read_form begins", "prepare begins"),
    "the worker's trip": ("prepare begins", "prepare ends"),
    "placed if the worker did not, the row's commit": ("prepare ends", "add ends"),
    "the answer": ("add ends", "answered"),
}
IN_WORKER = {
    "header, metadata cut": ("settle begins", "settle ends"),
    "decoded whole": ("_require_whole begins", "_require_whole ends"),
    "placeholder": ("placeholder begins", "placeholder ends"),
    "SHA-256": ("sha256 begins", "sha256 ends"),
    "written": ("_create begins", "_create ends"),
    "synced and placed": ("place begins", "place ends"),
}
OUT = {
    "through the gateway": ("asked", "find begins"),
    "its row": ("find begins", "send_object begins"),
    "sent": ("send_object begins", "send_object ends"),
    "the rest through the gateway": ("send_object ends", "answered"),
}


def _settings(folder: Path) -> MediaStoreSettings:
    secret = servers.SECRET
    return MediaStoreSettings(_env_file=None, data_dir=folder, jwt_secret_key=secret, internal_secret=secret)


async def _median(steps: dict[str, tuple[str, str]], marks: Marks, once: Callable[[], Awaitable[object]]) -> Steps:
    await once()
    taken = []
    for _ in range(TIMES):
        await once()
        taken.append(_between(marks, steps))
    return {step: statistics.median(one[step] for one in taken) for step in steps}


async def _through_both(size: str, port: int) -> dict[str, Steps]:
    """Keep the photo, and get it back."""
    marks: Marks = {}
    body, head = form(photo(size).data, {}), {"Content-Type": FORM_TYPE}
    connection = HTTPConnection("127.0.0.1", port, timeout=30)

    async def keep() -> bytes:
        return await asyncio.to_thread(_ask, connection, "POST", STORE, body, head, marks=marks)

    with ExitStack() as watching:
        for owner, name in (
            (taking, "read_form"),
            (ImageWorkers, "prepare"),
            (SqlImages, "add"),
            (ImageService, "find"),
            (showing, "send_object"),
        ):
            watching.enter_context(_watched(owner, name, marks))
        way_in = await _median(IN, marks, keep)
        path = f"/media/{json.loads(await keep())['key']}"

        async def get() -> bytes:
            return await asyncio.to_thread(_ask, connection, "GET", path, marks=marks)

        way_out = await _median(OUT, marks, get)
    connection.close()
    return {"in": way_in, "out": way_out}


async def _in_worker(size: str, folder: Path) -> Steps:
    """Do here what the worker does."""
    marks: Marks = {}
    numbers = iter(range(1000))
    async with open_object_store(_settings(folder)) as objects:

        async def once() -> None:
            number = next(numbers)
            placing = objects.placing({ImageFormat.JPEG.extension: f"stored/bench/{number}.jpg"})
            require(placing, "the store places nothing")
            file = objects.spool / f"spool-{number}"
            with _watched(type(placing), "place", marks):
                decode_worker.prepare(
                    photo(size).data, file, None, ImageLimits(), place=placing.place if placing else None
                )
            file.unlink()

        with ExitStack() as watching:
            watching.enter_context(_watched(hashlib, "sha256", marks))
            for name in ("settle", "_require_whole", "placeholder", "_create"):
                watching.enter_context(_watched(decode_worker, name, marks))
            return await _median(IN_WORKER, marks, once)


async def _measure(size: str, folder: Path) -> dict[str, Steps]:
    async with serving(build_app(_settings(folder / "here"))) as url:
        with servers.keepsake(folder, "gateway", cores=BOTH_CORES, settings={"MEDIA_STORE_URL": url}) as ours:
            found = await _through_both(size, ours["gateway"].port)
    return {**found, "worker": await _in_worker(size, folder / "worker")}


def measure() -> dict[str, dict[str, Steps]]:
    """Return the median milliseconds of each step, by size and way."""
    with data_folder() as folder:
        return {size: asyncio.run(_measure(size, folder / size.replace(" ", ""))) for size in ("50 KB", "12 MP")}
