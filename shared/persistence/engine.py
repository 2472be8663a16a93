"""One database per process: SQLAlchemy over SQLite or PostgreSQL, with bounded waits.

SQLite is read in place, and the rows of calls that wait together share a commit (decision 12).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql.dml import ReturningUpdate

from shared.concurrency.background_tasks import to_its_end
from shared.errors import DependencyDown, StorageFull
from shared.tracing import span

# Together below the 3 s within which a caller is told that the database is away: a place in the pool, then either a new
# connection, or a statement and the end of the connection that did not answer it.
POOL_TIMEOUT_S = 1.0
CONNECT_TIMEOUT_S = 1.5
STATEMENT_TIMEOUT_S = 1.5
CLOSE_TIMEOUT_S = 0.2
TURN_S = 2.5
POOL_SIZE = 10
POSTGRES_WRITERS = 8
LOCK_WAIT_MS = 2500
JOURNAL_PAGES = 480  # of 4 KiB: less than the room, which the journal then never leaves
MOST_AT_ONCE = 256
NO_ROOM_TO_OPEN = "SQLITE_IOERR_SHMSIZE"  # for the index of the journal, which a clean end takes away
FULL = ("disk is full", "disk full", "No space left", "53100")


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware UTC datetime on both databases: SQLite keeps none of the zone, so it is put back on reading."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Store UTC, without the zone where the database has no room for it."""
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """Return an aware datetime."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


@contextmanager
def database_errors() -> Iterator[None]:
    """Translate what keeps the database from answering; a violated constraint stays an IntegrityError."""
    try:
        yield
    except IntegrityError:
        raise
    except (DBAPIError, PoolTimeoutError, OSError, TimeoutError) as error:
        name = getattr(getattr(error, "orig", None), "sqlite_errorname", "")
        if name == NO_ROOM_TO_OPEN or any(word in str(error) for word in FULL):
            raise StorageFull from error
        raise DependencyDown("database") from error


class Database:
    """Transactions on one database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._turns = asyncio.Semaphore(POSTGRES_WRITERS if self.is_postgres else 1)
        self._blocking = None if self.is_postgres else _create_blocking_engine(engine.url)
        self._name = engine.dialect.name
        self._inserts = _InsertQueue(self._blocking, self._turn) if self._blocking else None

    @property
    def is_postgres(self) -> bool:
        """Whether this is PostgreSQL (else SQLite)."""
        return self.engine.dialect.name == "postgresql"

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that commits at the end of the block, and rolls back on any exception."""
        with span(self._name, "write"), database_errors():
            async with self._turn(), self.engine.begin() as connection:
                yield connection

    async def execute(self, statement: sa.UpdateBase, rows: Any = None) -> int:
        """Change rows by one statement, in a transaction of its own; return how many."""
        async with self.begin() as connection:
            return (await connection.execute(statement, rows)).rowcount

    async def insert(self, table: sa.Table, row: Mapping[str, Any]) -> None:
        """Insert one row in a transaction of its own, as far as anybody sees; raises IntegrityError.

        Whoever is cancelled meanwhile does not know whether the row is there.
        """
        if self._inserts is None:
            await self.execute(sa.insert(table), row)
            return
        with span(self._name, "write"), database_errors():
            await self._inserts.insert(table, row)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that only reads: on SQLite it waits for no writer, and for no thread."""
        with span(self._name, "read"), database_errors():
            if self._blocking is not None:
                with self._blocking.connect().execution_options(reading=True) as blocking, blocking.begin():
                    yield _InlineConnection(self.engine, blocking)
                return
            async with self.engine.connect() as connection, connection.begin():
                yield connection

    async def rows(self, query: sa.Select[Any]) -> Sequence[Any]:
        """Read all rows of one query."""
        async with self.read() as connection:
            return list(await connection.execute(query))

    async def lease(self, due: sa.Select[Any], change: ReturningUpdate[Any]) -> Sequence[Any]:
        """Change the rows whose key `due` selects, but not those that another process is taking; return what `change` does."""
        (key,) = due.selected_columns
        async with self.begin() as connection:
            keys = list(await connection.scalars(due.with_for_update(skip_locked=True, of=key.table)))
            return list(await connection.execute(change.where(key.in_(keys)))) if keys else []

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Let this process's writers stand in line.

        SQLite's own wait polls (200 at once took 1.5 s, in line 0.5 s); with PostgreSQL some would wait for a connection
        in vain.
        """
        async with asyncio.timeout(TURN_S):
            await self._turns.acquire()
        try:
            yield
        finally:
            self._turns.release()

    async def close(self) -> None:
        """Let what is being written end, then close the connections."""
        if self._inserts is not None:
            await self._inserts.close()
        if self._blocking is not None:
            self._blocking.dispose()
        await self.engine.dispose()

    async def check(self) -> None:
        """Raise DependencyDown unless the database answers."""
        async with self.read() as connection:
            await connection.execute(sa.text("SELECT 1"))


class Repository:
    """What is kept in tables; its calls raise DependencyDown where the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database


class _InlineConnection(AsyncConnection):
    """A connection whose statements run where they are awaited: a read takes 0.1 ms, a trip to a thread more."""

    async def execute(self, statement: Any, parameters: Any = None, **options: Any) -> Any:
        """Run the statement at once."""
        return self._proxied.execute(statement, parameters, **options)


@dataclass(frozen=True, slots=True)
class _Insert:
    table: sa.Table
    row: Mapping[str, Any]
    done: asyncio.Future[None]


class _InsertQueue:
    """Inserts rows by one thread on one connection; all that wait meanwhile share the next commit, the dearest part of it."""

    def __init__(self, engine: sa.Engine, turn: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        self._engine = engine
        self._turn = turn
        self._thread = ThreadPoolExecutor(1, "inserts")
        self._connection: sa.Connection | None = None  # the thread's
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
        if self._writing is not None:
            await asyncio.wait([self._writing])
        self._thread.shutdown()
        self._disconnect()

    async def _write(self) -> None:
        while self._waiting:
            batch: list[_Insert] = []
            try:
                async with self._turn():
                    batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
                    writing = asyncio.get_running_loop().run_in_executor(self._thread, self._insert_all, batch)
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

    def _insert_all(self, batch: Sequence[_Insert]) -> list[Exception | None]:
        """Insert the rows, on a new connection where the last one had any other trouble than with the rows."""
        self._connection = self._connection or self._engine.connect()
        try:
            return _insert_rows(self._connection, batch)
        except BaseException:
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _insert_rows(connection: sa.Connection, batch: Sequence[_Insert]) -> list[Exception | None]:
    """Insert the rows in one transaction; where one violates a constraint, again with a savepoint for each."""
    try:
        with connection.begin():
            for table, inserts in groupby(batch, attrgetter("table")):
                connection.execute(table.insert(), list(map(attrgetter("row"), inserts)))
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
            connection.execute(insert.table.insert(), insert.row)
    except IntegrityError as error:
        return error
    return None


def _prepare(engine: sa.Engine) -> None:
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


def _create_blocking_engine(url: sa.URL) -> sa.Engine:
    """Make an engine without threads; it never waits for a connection, because it would hold the event loop up."""
    engine = sa.create_engine(
        url.set(drivername="sqlite"),
        poolclass=sa.QueuePool,
        max_overflow=-1,
        hide_parameters=True,
        connect_args={"check_same_thread": False},
    )
    _prepare(engine)
    return engine


def create_postgres_engine(url: str | sa.URL, statement_timeout_s: float | None = None) -> AsyncEngine:
    """Return an engine whose statements are cut off when they take longer."""
    import asyncpg  # noqa: PLC0415 - only where PostgreSQL is used

    class Connection(asyncpg.Connection):  # type: ignore[misc]  # it ships no types
        async def close(self, *, timeout: float | None = None) -> None:  # noqa: ARG002 - SQLAlchemy's own is 2 s
            await super().close(timeout=CLOSE_TIMEOUT_S)

    engine = create_async_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=POOL_SIZE,
        pool_timeout=POOL_TIMEOUT_S,
        hide_parameters=True,
        connect_args={
            "timeout": CONNECT_TIMEOUT_S,
            "command_timeout": statement_timeout_s or STATEMENT_TIMEOUT_S,
            "connection_class": Connection,
        },
    )

    @sa.event.listens_for(engine.sync_engine, "handle_error")
    def on_error(context: ExceptionContext) -> None:
        # A rollback on a connection that does not answer would wait as long again: it is dropped instead.
        if isinstance(context.original_exception, TimeoutError):
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = False

    return engine


def _create_engine(url: str, path: Path) -> AsyncEngine:
    if url.startswith("postgresql"):
        return create_postgres_engine(url)
    if not url:
        path.parent.mkdir(parents=True, exist_ok=True)
        url = f"sqlite+aiosqlite:///{path}"
    engine = create_async_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        hide_parameters=True,  # ids that open a door, and hashes, stay out of the log
    )
    _prepare(engine.sync_engine)
    return engine


@asynccontextmanager
async def open_database(url: str, data_dir: Path, service: str) -> AsyncIterator[Database]:
    """Open the database at `url`, or SQLite at `<data_dir>/<service>.db` where `url` is empty."""
    engine = _create_engine(url, data_dir / f"{service}.db")
    database = Database(engine)
    try:
        yield database
    finally:
        await database.close()


def is_unique_violation(error: SQLAlchemyError, name: str) -> bool:
    """Tell whether the constraint or index `name` (or the column SQLite names instead) was violated."""
    return isinstance(error, IntegrityError) and name in str(error.orig)
