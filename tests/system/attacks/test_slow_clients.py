"""Slow and idle clients by the hundred, all at once: they are let go in time, cost little, and nobody else notices them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

import pytest

from tests.support.pictures import of_bytes
from tests.support.raw_http import RawAnswer, RawClient, connect
from tests.support.stack import Stack
from tests.system.attacks.hostile_uploads import BOUNDARY, JPEG, file, form

UPLOAD, RETRIEVE = "/api/temp-image-upload", "/api/temp-image-retrieve"
DOORS = ("gateway", "temp-image")
# The contract's limits, and some air for a machine that runs all of this at once.
HEAD_S, BODY_S, AIR_S = 15.0, 30.0, 8.0
ANSWER_S = 10.0
MEBIBYTE = 2**20


@dataclass
class Siege:
    """What became of each kind of client, and of the customers among them."""

    ended: dict[str, list[bytes | None]] = field(default_factory=dict)
    customers: list[int] = field(default_factory=list)
    before: dict[str, dict[str, float]] = field(default_factory=dict)
    during: dict[str, dict[str, float]] = field(default_factory=dict)
    after: dict[str, dict[str, float]] = field(default_factory=dict)


def upload_head(length: int) -> bytes:
    lines = (f"POST {UPLOAD} HTTP/1.1", "Host: shop", f"Content-Type: multipart/form-data; boundary={BOUNDARY}")
    return "\r\n".join((*lines, f"Content-Length: {length}", "", "")).encode()


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n".encode()


async def until_closed(client: RawClient, seconds: float) -> bytes | None:
    """Return what came until the connection ended, or None where it did not end in time."""
    read = b""
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(seconds):
            while data := await client.reader.read(65536):
                read += data
            return read
    return read if client.reader.at_eof() or client.writer.is_closing() else None


async def drip(client: RawClient, data: bytes, every_s: float) -> None:
    """Send a byte at a time, for as long as anybody takes it."""
    with suppress(ConnectionError):
        for byte in data:
            await client.send(bytes([byte]))
            await asyncio.sleep(every_s)


async def idle(client: RawClient) -> bytes | None:
    return await until_closed(client, HEAD_S + AIR_S)


async def half_a_head(client: RawClient) -> bytes | None:
    await client.send(b"GET /health HTTP/1.1\r\nHost: shop\r\nX-Slow: ")
    return await until_closed(client, HEAD_S + AIR_S)


async def dripping_head(client: RawClient) -> bytes | None:
    dripping = asyncio.create_task(drip(client, b"GET /health HTTP/1.1\r\nHost: shop\r\n" + b"X: y\r\n" * 200, 0.25))
    try:
        return await until_closed(client, HEAD_S + AIR_S)
    finally:
        dripping.cancel()


async def second_head(client: RawClient) -> bytes | None:
    await client.send(get("/health"))
    await client.answer()
    return await half_a_head(client)


async def stalled_body(client: RawClient) -> bytes | None:
    await client.send(upload_head(10_000) + file(JPEG)[:300])
    return await until_closed(client, BODY_S + AIR_S)


async def stalled_chunk(client: RawClient) -> bytes | None:
    head = upload_head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    await client.send(head + b"fff\r\n" + file(JPEG)[:300])
    return await until_closed(client, BODY_S + AIR_S)


async def no_body(client: RawClient) -> bytes | None:
    await client.send(upload_head(10_000))
    return await until_closed(client, BODY_S + AIR_S)


async def patient_upload(client: RawClient) -> bytes | None:
    """Bytes move, if slowly: this one must be let through."""
    body = form(file(JPEG))
    await client.send(upload_head(len(body)) + body[:-40])
    for byte in body[-40:]:
        await client.send(bytes([byte]))
        await asyncio.sleep(0.5)
    return (await client.answer()).status_line.encode()


async def reset(client: RawClient) -> bytes | None:
    await client.send(upload_head(MEBIBYTE) + file(JPEG)[:1000])
    client.writer.transport.abort()
    return b""


KINDS: dict[str, tuple[int, Callable[[RawClient], Awaitable[bytes | None]]]] = {
    "idle": (300, idle),
    "half a head": (100, half_a_head),
    "a dripping head": (60, dripping_head),
    "a second head": (40, second_head),
    "a stalled body": (40, stalled_body),
    "a stalled chunk": (20, stalled_chunk),
    "no body": (40, no_body),
    "a patient upload": (20, patient_upload),
    "a reset": (100, reset),
}


async def one(url: str, play: Callable[[RawClient], Awaitable[bytes | None]]) -> bytes | None:
    async with connect(url) as client:
        try:
            return await play(client)
        except (ConnectionError, asyncio.IncompleteReadError):
            return b""


async def exchange(url: str, request: bytes) -> RawAnswer:
    async with connect(url) as client:
        await client.send(request)
        return await client.answer()


async def shop(site: Stack, over: asyncio.Event) -> list[int]:
    """Upload and get back, like any customer, until it is over."""
    statuses: list[int] = []
    body = form(file(JPEG))
    while not over.is_set():
        for door in DOORS:
            try:
                async with asyncio.timeout(ANSWER_S):
                    kept = await exchange(site.url(door), upload_head(len(body)) + body)
                    image_id = json.loads(kept.body)["imageId"]
                    back = await exchange(site.url(door), get(f"{RETRIEVE}?imageId={image_id}"))
                statuses += [kept.status, back.status]
            except (TimeoutError, OSError, asyncio.IncompleteReadError, KeyError):
                statuses.append(0)
        await asyncio.sleep(0.2)
    return statuses


async def readers_who_do_not_read(site: Stack, stack: AsyncExitStack) -> None:
    """Ask for as much as there is, and take none of it: large images, and answers by the thousand on one connection."""
    large = of_bytes(4 * MEBIBYTE)
    body = form(file(large))
    for door in DOORS:
        for _ in range(8):
            kept = await exchange(site.url(door), upload_head(len(body)) + body)
            client = await stack.enter_async_context(connect(site.url(door)))
            client.pause_reading()
            await client.send(get(f"{RETRIEVE}?imageId={json.loads(kept.body)['imageId']}"))
        for _ in range(8):
            client = await stack.enter_async_context(connect(site.url(door)))
            client.pause_reading()
            client.writer.write(get("/openapi.json") * 2000)


async def figures(site: Stack) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for door in DOORS:
        lines = (await exchange(site.url(door), get("/metrics"))).body.decode().splitlines()
        values = dict(
            line.rsplit(" ", 1) for line in lines if line.startswith(("process_", "keepsake_http_in_flight "))
        )
        found[door] = {name: float(value) for name, value in values.items()}
    return found


async def besiege(site: Stack) -> Siege:
    siege, over = Siege(), asyncio.Event()
    siege.before = await figures(site)
    customers = asyncio.create_task(shop(site, over))
    async with AsyncExitStack() as stack:
        await readers_who_do_not_read(site, stack)
        ends = {
            f"{name} at {door}": asyncio.gather(*(one(site.url(door), play) for _ in range(count)))
            for name, (count, play) in KINDS.items()
            for door in DOORS
        }
        await asyncio.sleep(HEAD_S / 2)
        siege.during = await figures(site)
        for name, end in ends.items():
            siege.ended[name] = list(await end)
    over.set()
    siege.customers = await customers
    for _ in range(100):
        siege.after = await figures(site)
        if all(siege.after[door]["keepsake_http_in_flight"] <= 1 for door in DOORS):
            break
        await asyncio.sleep(0.1)
    return siege


@pytest.fixture(scope="module")
def siege(site: Stack) -> Siege:
    return asyncio.run(besiege(site))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_is_let_go_in_time(siege: Siege, kind: str, door: str) -> None:
    ends = siege.ended[f"{kind} at {door}"]
    assert len(ends) == KINDS[kind][0]
    assert None not in ends


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", ["half a head", "a dripping head", "a second head", "a stalled body", "no body"])
def test_who_sent_something_is_told_that_it_was_late(siege: Siege, kind: str, door: str) -> None:
    for end in siege.ended[f"{kind} at {door}"]:
        assert end is not None
        assert end.startswith(b"HTTP/1.1 408 ")
        assert end.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("door", DOORS)
def test_who_said_nothing_is_told_nothing(siege: Siege, door: str) -> None:
    assert set(siege.ended[f"idle at {door}"]) == {b""}


@pytest.mark.parametrize("door", DOORS)
def test_a_slow_upload_comes_through(siege: Siege, door: str) -> None:
    assert set(siege.ended[f"a patient upload at {door}"]) == {b"HTTP/1.1 200 OK"}


def test_every_customer_was_served_all_the_time(siege: Siege) -> None:
    assert len(siege.customers) > 8
    assert set(siege.customers) == {200}


@pytest.mark.parametrize("door", DOORS)
def test_it_costs_little(siege: Siege, door: str) -> None:
    """What nobody reads is not gathered: 8 images of 4 MiB and 16,000 answers would be 700 MB."""
    name = "process_resident_memory_bytes"
    grown = siege.during[door].get(name, 0) - siege.before[door].get(name, 0)
    assert grown < 96 * MEBIBYTE


@pytest.mark.parametrize("door", DOORS)
def test_nothing_of_it_stays(siege: Siege, door: str) -> None:
    assert siege.after[door]["keepsake_http_in_flight"] <= 1
    opened = siege.after[door].get("process_open_fds", 0) - siege.before[door].get("process_open_fds", 0)
    assert opened <= 80  # connections between the processes, kept for the next requests
