"""One database per process: SQLAlchemy over SQLite or PostgreSQL, with bounded waits, and migrations at start."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shared.errors import DependencyDown, KeepsakeError, StorageFull
from shared.persistence.sqlite import InlineConnection, InsertQueue, create_blocking_engine, prepare
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
MIGRATION_WAIT_S = 60.0
SQLITE_ROOM_BYTES = 2 * 2**20
FULL = ("disk is full", "disk full", "No space left", "53100")


class NewerDatabase(KeepsakeError):
    """The tables are at a revision that this release does not know: only a newer one may write to them."""


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
        if any(word in str(error) for word in FULL):
            raise StorageFull from error
        raise DependencyDown("database") from error


class Database:
    """Transactions on one database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._turns = asyncio.Semaphore(POSTGRES_WRITERS if self.is_postgres else 1)
        self._blocking = None if self.is_postgres else create_blocking_engine(engine.url)
        self._name = engine.dialect.name
        self._inserts = InsertQueue(self._blocking, self._turn) if self._blocking else None

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

    async def insert(self, table: sa.Table, row: Mapping[str, Any]) -> None:
        """Insert one row in a transaction of its own, as far as anybody sees; raises IntegrityError.

        Whoever is cancelled meanwhile does not know whether the row is there.
        """
        if self._inserts is None:
            async with self.begin() as connection:
                await connection.execute(sa.insert(table), row)
            return
        with span(self._name, "write"), database_errors():
            await self._inserts.insert(table, row)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that only reads: on SQLite it waits for no writer, and for no thread."""
        with span(self._name, "read"), database_errors():
            if self._blocking is not None:
                with self._blocking.connect().execution_options(reading=True) as blocking, blocking.begin():
                    yield InlineConnection(self.engine, blocking)
                return
            async with self.engine.connect() as connection, connection.begin():
                yield connection

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


def _create_postgres_engine(url: str) -> AsyncEngine:
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
            "command_timeout": STATEMENT_TIMEOUT_S,
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
        return _create_postgres_engine(url)
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
    prepare(engine.sync_engine)
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


def _upgrade(connection: sa.Connection, migrations: Path, version_table: str) -> None:
    from alembic import command  # noqa: PLC0415 - a quarter of a second that only the start needs
    from alembic.config import Config  # noqa: PLC0415
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes.update(connection=connection, version_table=version_table)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    context = MigrationContext.configure(connection, opts={"version_table": version_table})
    if not known.issuperset(context.get_current_heads()):
        service = version_table.removeprefix("alembic_version_")
        raise NewerDatabase(
            f"The tables of {service} were migrated by a newer release than this one: run that release, or restore a backup."
        )
    command.upgrade(config, "head")


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


async def _lock_migrations(connection: AsyncConnection, version_table: str) -> None:
    """Wait for the turn to migrate; asked again and again, since a statement that waits would be cut off."""
    lock = {"lock": zlib.crc32(version_table.encode())}
    async with asyncio.timeout(MIGRATION_WAIT_S):
        while not await connection.scalar(  # noqa: ASYNC110 - PostgreSQL sets no event
            sa.text("SELECT pg_try_advisory_xact_lock(:lock)"), lock
        ):
            await asyncio.sleep(0.1)


def _keep_room(path: str) -> None:
    """Give the file and its journal pages that they do not need yet: on a full disk, deletions are written to them.

    The journal ends with its last connection, so this is for every start; where the disk is full then, nothing is kept.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection, suppress(sqlite3.OperationalError):
        connection.execute("DROP TABLE IF EXISTS room")
        connection.execute("CREATE TABLE room AS SELECT zeroblob(?) AS bytes", [SQLITE_ROOM_BYTES])
        connection.execute("DROP TABLE room")
        connection.execute("PRAGMA wal_checkpoint(RESTART)")


async def migrate(database: Database, migrations: Path, service: str, data_dir: Path) -> None:
    """Bring the service's tables up to date; of several processes that start at once, one does it while the others wait.

    Raises DependencyDown where the database does not answer, NewerDatabase before anything is changed.
    """
    version_table = f"alembic_version_{service}"
    with database_errors():
        if database.is_postgres:
            async with database.engine.begin() as connection:
                await _lock_migrations(connection, version_table)
                await connection.run_sync(_upgrade, migrations, version_table)
            return
        lock = _file_lock(data_dir / f"{service}.migrations.lock")
        await asyncio.to_thread(lock.__enter__)
        try:
            async with database.engine.begin() as connection:
                await connection.run_sync(_upgrade, migrations, version_table)
            await asyncio.to_thread(_keep_room, database.engine.url.database or ":memory:")
        finally:
            lock.__exit__(None, None, None)


def is_unique_violation(error: SQLAlchemyError, name: str) -> bool:
    """Tell whether the constraint or index `name` (or the column SQLite names instead) was violated."""
    return isinstance(error, IntegrityError) and name in str(error.orig)
