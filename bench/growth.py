"""Cost over size: how long one call takes when 100, and when 100,000 of the same kind are there."""

from __future__ import annotations

import json
import secrets
import sqlite3
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from bench import servers
from bench.bodies import FORM_TYPE, form
from bench.comparisons import RETRIEVE, UPLOAD
from bench.load import require
from bench.machine import BOTH_CORES, DATA
from bench.servers import SECRET, Server, bearer
from services.temp_image.adapters.disk.sweep import Sweeper
from tests.support import pictures

COUNTS = (100, 1_000, 10_000, 100_000)
CALLS = 60
IDLE_S = 30  # a connection is kept for a minute, and others may be filled for as long
NAME = "grower"
PICTURE = pictures.jpeg(200, 150)
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Subject:
    """What grows: how to make it `count` in number, and the call whose time is taken."""

    name: str
    fill: Callable[[int], None]
    call: Callable[[], None]


def _database_of(folder: Path, table: str) -> Path:
    for path in folder.rglob("*"):
        if path.suffix in {".db", ".sqlite", ".sqlite3"}:
            with closing(sqlite3.connect(path)) as database:
                if database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
                    return path
    raise FileNotFoundError(table)


def _multiply(folder: Path, table: str, count: int, fresh: Callable[[], Row]) -> None:
    """Copy the table's first row until there are `count`, each with the columns that `fresh` gives it."""
    with closing(sqlite3.connect(_database_of(folder, table), timeout=60)) as database, database:
        database.row_factory = sqlite3.Row
        first = dict(database.execute(f"SELECT * FROM {table} ORDER BY rowid LIMIT 1").fetchone())  # noqa: S608 - our own names
        there = database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - our own names
        places = ", ".join("?" for _ in first)
        rows = (tuple({**first, **fresh()}.values()) for _ in range(count - there))
        database.executemany(f"INSERT INTO {table} ({', '.join(first)}) VALUES ({places})", rows)  # noqa: S608 - our own names


@contextmanager
def _caller(server: Server, headers: Mapping[str, str] | None = None) -> Iterator[Callable[..., bytes]]:
    """Give a function that asks over one kept connection and returns the body of a 200."""
    connection, answered_at = HTTPConnection("127.0.0.1", server.port, timeout=60), [0.0]

    def call(method: str, path: str, body: bytes | None = None, **more: str) -> bytes:
        given = {name.replace("_", "-"): value for name, value in more.items()}
        if time.monotonic() - answered_at[0] > IDLE_S:
            connection.close()  # opened anew by the request
        connection.request(method, path, body, {**(headers or {}), **given})
        answer = connection.getresponse()
        data = answer.read()
        answered_at[0] = time.monotonic()
        require(answer.status == 200, f"{method} {path.partition('?')[0]} was answered {answer.status}")
        return data

    try:
        yield call
    finally:
        connection.close()


def _temporary_images(folder: Path, call: Callable[..., bytes]) -> list[Subject]:
    images = folder / "var" / "temp-images"
    call("POST", UPLOAD, form(PICTURE, {}), Content_Type=FORM_TYPE)
    first = next(path for path in images.glob("??/*") if path.is_file())
    record = first.read_bytes()
    made = [1]

    def fill(count: int) -> None:
        while made[0] < count:
            image_id = secrets.token_hex(16)
            (images / image_id[:2] / image_id).write_bytes(record)
            made[0] += 1

    def pair() -> None:
        image_id = json.loads(call("POST", UPLOAD, form(PICTURE, {}), Content_Type=FORM_TYPE))["imageId"]
        require(call("GET", f"{RETRIEVE}?imageId={image_id}") == PICTURE, "other bytes came back")

    sweeper = Sweeper(images)
    return [
        Subject("upload and retrieve a temporary image", fill, pair),
        Subject(
            "one pass of the sweeper", lambda _: None, lambda: require(sweeper.sweep() == 0, "a live image was swept")
        ),
    ]


def _stored_images(folder: Path, call: Callable[..., bytes]) -> Subject:
    texts = {"username": NAME, "image_type": "gallery"}
    call("POST", "/api/upload_user_image/", form(PICTURE, texts), Content_Type=FORM_TYPE)

    def fresh() -> Row:
        image_id = str(uuid.uuid4())
        return {"id": image_id, "key": f"users/{NAME}/images/{image_id}.jpg", "is_primary": False}

    def listing() -> None:
        require(json.loads(call("GET", f"/api/user_images/{NAME}/?limit=20"))["count"] == 20, "not a page of 20")

    return Subject(
        "a page of one user's images", lambda count: _multiply(folder, "media_images", count, fresh), listing
    )


def _orders(folder: Path, call: Callable[..., bytes]) -> Subject:
    body = form(PICTURE, {"pet_name": "Rex"}).replace(b'name="image"', b'name="files"')
    call("POST", "/api/images/upload", body, Content_Type=FORM_TYPE)

    def fresh() -> Row:
        return {"id": secrets.token_hex(16), "metadata_due_at": None, "photos_due_at": None}

    def listing() -> None:
        require(json.loads(call("GET", "/api/images/orders?limit=20"))["count"] == 20, "not a page of 20")

    return Subject(
        "a page of one user's orders", lambda count: _multiply(folder, "planter_orders", count, fresh), listing
    )


def _sessions(folder: Path, call: Callable[..., bytes]) -> Subject:
    opened = json.loads(call("POST", "/api/checkout/embedded-session", b"{}", Content_Type="application/json"))

    def fresh() -> Row:
        name = secrets.token_hex(16)
        return {
            "id": name,
            "session_id": f"cs_test_{name}",
            "state": "expired",
            "reuse_key": None,
            "next_check_at": None,
        }

    def status() -> None:
        call("GET", f"/api/checkout/session-status?session_id={opened['session_id']}")

    return Subject(
        "the status of a checkout session", lambda count: _multiply(folder, "checkout_sessions", count, fresh), status
    )


def measure() -> dict[str, dict[int, float]]:
    """Return the median milliseconds of each subject's call, by how many there are."""
    folder = DATA / uuid.uuid4().hex
    names = ("temp-image", "media-store", "planter-orders", "checkout", "stripe-sandbox")
    token = bearer(NAME)
    settings = {"JWT_SECRET_KEY": SECRET}
    with (
        servers.keepsake(folder, *names, cores=BOTH_CORES, settings=settings) as ours,
        _caller(ours["temp-image"]) as temporary,
        _caller(ours["media-store"], token) as stored,
        _caller(ours["planter-orders"], token) as orders,
        _caller(ours["checkout"]) as checkout,
    ):
        subjects = [
            *_temporary_images(folder, temporary),
            _stored_images(folder, stored),
            _orders(folder, orders),
            _sessions(folder, checkout),
        ]
        taken: dict[str, dict[int, float]] = {subject.name: {} for subject in subjects}
        for count in COUNTS:
            for subject in subjects:
                subject.fill(count)
                taken[subject.name][count] = _median_ms(subject.call)
    return taken


def _median_ms(call: Callable[[], None]) -> float:
    times = []
    for _ in range(CALLS):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000
