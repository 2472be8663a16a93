"""Signals over PostgreSQL's LISTEN and NOTIFY."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import sqlalchemy as sa

from shared.errors import KeepsakeError
from shared.log import get_logger
from shared.persistence.engine import Database, database_errors

CHANNEL = "planter_orders_changes"
LOST = ""  # what is heard last when the connection ends


class PostgresSignals:
    """`Signals` that every process at the same database gets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def send(self, order_id: str) -> None:
        """Notify, after the commit that it is about."""
        try:
            async with self._database.begin() as connection:
                await connection.execute(
                    sa.text("SELECT pg_notify(:channel, :order_id)"), {"channel": CHANNEL, "order_id": order_id}
                )
        except KeepsakeError:
            get_logger().warning("a change was not announced through the database")

    async def received(self) -> AsyncIterator[str]:
        """Listen on a connection of its own."""
        heard: asyncio.Queue[str] = asyncio.Queue()

        def hear(_connection: Any, _pid: int, _channel: str, order_id: str) -> None:
            heard.put_nowait(order_id)

        def lose(_connection: Any) -> None:
            heard.put_nowait(LOST)

        with database_errors():
            connection = await self._database.engine.connect()
        try:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            driver.add_termination_listener(lose)
            await driver.add_listener(CHANNEL, hear)
            yield ""
            while order_id := await heard.get():
                yield order_id
        finally:
            # Never back to the pool, where it would go on listening.
            await connection.invalidate()
            await connection.close()
