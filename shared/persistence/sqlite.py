"""SQLite's own ways: reads in place, and the rows of calls that wait together in one commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.concurrency.waiting import to_its_end

LOCK_WAIT_MS = 2500
JOURNAL_PAGES = 480  # of 4 KiB: less than the room, which the journal then never leaves
MOST_AT_ONCE = 256


def prepare(engine: sa.Engine) -> None:
    """Have the engine's connections write ahead and durably, and take the write lock first."""

    @sa.event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late to lock
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",  # a commit that was answered survives a power cut
            f"busy_timeout={LOCK_WAIT_MS}",
            "foreign_keys=ON",
            f"wal_autocheckpoint={JOURNAL_PAGES}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def on_begin(connection: sa.Connection) -> None:
        # Upgrading a read lock to a write lock fails at once under WAL; taking it first waits its turn.
        connection.exec_driver_sql(
            "BEGIN IMMEDIATE" if not connection.get_execution_options().get("reading") else "BEGIN"
        )


def create_blocking_engine(url: sa.URL) -> sa.Engine:
    """Make an engine without threads; it never waits for a connection, because it would hold the event loop up."""
    engine = sa.create_engine(
        url.set(drivername="sqlite"),
        poolclass=sa.QueuePool,
        max_overflow=-1,
        hide_parameters=True,
        connect_args={"check_same_thread": False},
    )
    prepare(engine)
    return engine


class InlineConnection(AsyncConnection):
    """A connection whose statements run where they are awaited: a read takes 0.1 ms, a trip to a thread more."""

    async def execute(self, statement: Any, parameters: Any = None, **options: Any) -> Any:
        """Run the statement at once."""
        return self._proxied.execute(statement, parameters, **options)


@dataclass(frozen=True, slots=True)
class _Insert:
    table: sa.Table
    row: Mapping[str, Any]
    done: asyncio.Future[None]


class InsertQueue:
    """Inserts rows by one thread; all that wait meanwhile share the next commit, the dearest part of an insert."""

    def __init__(self, engine: sa.Engine, turn: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        """`turn` is this process's place among its writers."""
        self._engine = engine
        self._turn = turn
        self._thread = ThreadPoolExecutor(1, "inserts")
        self._waiting: list[_Insert] = []
        self._writing: asyncio.Task[None] | None = None

    async def insert(self, table: sa.Table, row: Mapping[str, Any]) -> None:
        """Insert a row; return once it is committed. Whoever is cancelled is so only once it is known how it ended.

        Raises IntegrityError for this row alone, and what keeps all of them from being written.
        """
        loop = asyncio.get_running_loop()
        insert = _Insert(table, row, loop.create_future())
        self._waiting.append(insert)
        if self._writing is None:
            self._writing = loop.create_task(self._write())
        await to_its_end(insert.done)

    async def close(self) -> None:
        """Wait for what is being written."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
        self._thread.shutdown(wait=False)

    async def _write(self) -> None:
        while self._waiting:
            batch: list[_Insert] = []
            try:
                async with self._turn():
                    batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
                    writing = asyncio.get_running_loop().run_in_executor(self._thread, _insert_all, self._engine, batch)
                    outcomes: Sequence[Exception | None] = await writing
            except Exception as error:  # noqa: BLE001 - each caller gets it
                if not batch:
                    batch, self._waiting = self._waiting, []
                outcomes = [error] * len(batch)
            for insert, outcome in zip(batch, outcomes, strict=True):
                if outcome is None:
                    insert.done.set_result(None)
                else:
                    insert.done.set_exception(outcome)
        self._writing = None


def _insert_all(engine: sa.Engine, batch: Sequence[_Insert]) -> list[Exception | None]:
    """Insert the rows in one transaction; where one violates a constraint, again with a savepoint for each."""
    with engine.connect() as connection:
        try:
            with connection.begin():
                for table, inserts in groupby(batch, lambda insert: insert.table):
                    connection.execute(sa.insert(table), [insert.row for insert in inserts])
        except IntegrityError as error:
            if len(batch) == 1:
                return [error]
        else:
            return [None] * len(batch)
        with connection.begin():
            return [_insert_one(connection, insert) for insert in batch]


def _insert_one(connection: sa.Connection, insert: _Insert) -> IntegrityError | None:
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(insert.table), insert.row)
    except IntegrityError as error:
        return error
    return None
