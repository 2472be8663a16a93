"""`python -m bench.listing [DATABASE_URL]`: what a page of orders costs among 100 and among 100,000 of them.

Over HTTP, on SQLite or the empty PostgreSQL database given. Nothing is asserted:
tests/unit/services/planter_orders/test_queries.py holds the queries to their indexes.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from services.planter_orders.adapters.sql.tables import EVENTS, FILES, ORDERS
from services.planter_orders.app import MIGRATIONS, NAME, build_app
from services.planter_orders.settings import PlanterOrdersSettings
from shared.http.cursors import EPOCH, Position
from shared.persistence.engine import open_database
from shared.persistence.migrations import migrate
from tests.support.serving import serving
from tests.unit.services.planter_orders.api import INTERNAL_SECRET, JWT_SECRET, token

COUNTS = (100, 100_000)
USERS = 2  # so that a page is full among a hundred orders too
CALLS = 200
BATCH = 5000
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def _rows(numbers: range) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    for number in numbers:
        order_id, at = f"{number:032x}", FIRST + timedelta(seconds=number)
        status = "paid" if number % 3 == 0 else "pending"
        yield (
            {"id": order_id, "user_id": f"user-{number % USERS}", "status": status, "created_at": at,
             "last_event_id": number + 1, "newest_event_id": number + 1,
             "version": 1, "photos_attempts": 0},
            {"order_id": order_id, "position": 0, "filename": "20260101_000000_abcdef.jpg", "original_filename": "a.jpg",
             "content_type": "image/jpeg", "size": 1, "width": 1, "height": 1, "sha256": "0" * 64, "warnings": []},
            {"order_id": order_id, "status": status, "at": at, "note": None},
        )  # fmt: skip


async def _fill(settings: PlanterOrdersSettings, numbers: range) -> None:
    async with open_database(settings.database_url, settings.data_dir, NAME) as database:
        await migrate(database, MIGRATIONS, NAME, settings.data_dir)
        for start in range(numbers.start, numbers.stop, BATCH):
            batch = list(_rows(range(start, min(start + BATCH, numbers.stop))))
            async with database.begin() as connection:
                for table, rows in zip((ORDERS, FILES, EVENTS), zip(*batch, strict=True), strict=True):
                    for at in range(0, len(rows), 1000):
                        await connection.execute(table.insert(), list(rows[at : at + 1000]))
        async with database.begin() as connection:
            await connection.exec_driver_sql("ANALYZE")


async def _median_ms(http: aiohttp.ClientSession, url: str, bearer: str) -> float:
    times = []
    for _ in range(CALLS):
        started = time.perf_counter()
        async with http.get(url, headers={"Authorization": f"Bearer {bearer}"}) as answer:
            assert answer.status == 200
            assert (await answer.json())["count"] > 0
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


async def _measure(settings: PlanterOrdersSettings, count: int) -> dict[str, float]:
    middle = Position(FIRST + timedelta(seconds=count // 2), "0" * 32)
    assert middle.at > EPOCH
    user, admin = token("user-1"), token("boss", roles=["admin"])
    pages = {
        "own, first page": ("/api/images/orders?limit=20", user),
        "own, from the middle": (f"/api/images/orders?limit=20&cursor={middle.cursor()}", user),
        "own, paid": ("/api/images/orders?limit=20&status=paid", user),
        "all, first page": ("/api/admin/orders?limit=20", admin),
        "all, from the middle": (f"/api/admin/orders?limit=20&cursor={middle.cursor()}", admin),
        "all, paid": ("/api/admin/orders?limit=20&status=paid", admin),
    }
    async with serving(build_app(settings)) as url, aiohttp.ClientSession() as http:
        return {name: await _median_ms(http, url + path, bearer) for name, (path, bearer) in pages.items()}


async def _main(database_url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = PlanterOrdersSettings(
            _env_file=None,
            data_dir=Path(folder),
            jwt_secret_key=JWT_SECRET,
            internal_secret=INTERNAL_SECRET,
            database_url=database_url,
        )
        found, filled = [], 0
        for count in COUNTS:
            await _fill(settings, range(filled, count))
            found.append(await _measure(settings, count))
            filled = count
    sys.stdout.write(f"{'page of 20, median ms':24}{''.join(f'{count:>12,}' for count in COUNTS)}\n")
    for name in found[0]:
        sys.stdout.write(f"{name:24}{''.join(f'{each[name]:12.2f}' for each in found)}\n")


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1] if len(sys.argv) > 1 else ""))
