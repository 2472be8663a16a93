"""`python -m tools.try_migrations [ROWS]`: each migration with so many rows (100,000) in each table, with its time and its locks.

The tables are made by each service's first migration and filled; then every later one runs by itself, on PostgreSQL while its
locks are looked at, and on SQLite. It prints a table for docs/operations.md.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import sqlalchemy as sa

from shared.persistence.engine import Database, open_database
from shared.persistence.migrations import SERVICES, WITH_TABLES, migrate
from tests.support.postgres import fresh_database, running_postgres

ROWS = 100_000
LOOK_S = 0.005
# The modes that others notice: writers wait for all of them, readers for the first only.
STOPS_READING = "AccessExclusiveLock"
STOPS_WRITING = frozenset({"ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", STOPS_READING})
LOCKS = sa.text(
    "SELECT c.relname, array_agg(l.mode) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
    " WHERE l.granted AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND l.pid <> pg_backend_pid()"
    " GROUP BY c.relname"
)
# What a row says, beside what its type alone would have it say.
VALUES = {
    "status": "CASE n % 3 WHEN 0 THEN 'pending' WHEN 1 THEN 'paid' ELSE 'shipped' END",
    "state": "CASE n % 3 WHEN 0 THEN 'open' WHEN 1 THEN 'paid' ELSE 'expired' END",
    "pet_name": "'Büsi ' || n",
    "warnings": "CASE WHEN n % 10 = 0 THEN '[\"small\"]' ELSE '[]' END",
    "is_primary": "n % 10 = 0",
    "deleted_at": "NULL",
    "kind": "'user'",
    "order_id": "lpad(n::text, 32, '0')",
    "id": "lpad(n::text, 32, '0')",
    "review_reason": "CASE WHEN n % 100 = 0 THEN 'why' END",
    "position": "0",
}


@dataclass(frozen=True)
class Trial:
    """One migration: how long it took on PostgreSQL and SQLite, and for how long (in seconds) each table was locked."""

    name: str
    postgres_s: float
    sqlite_s: float
    writing_s: dict[str, float]
    reading_s: dict[str, float]


def revisions_of(service: str) -> list[Path]:
    """Return the service's migrations, the first one first."""
    return sorted((SERVICES / service.replace("-", "_") / "migrations" / "versions").glob("[0-9]*.py"))


@contextmanager
def migrations_up_to(service: str, last: Path) -> Iterator[Path]:
    """Give a folder that has the service's migrations up to this one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "migrations"
        left_out = [path.name for path in revisions_of(service) if path.name > last.name]
        shutil.copytree(last.parents[1], folder, ignore=shutil.ignore_patterns("__pycache__", *left_out))
        yield folder


TYPES = {
    "INT": ("n", "n"),
    "BOOL": ("n % 2 = 0", "n % 2 = 0"),
    "DATE": ("now() - n * interval '1 second'", "datetime('now', -n || ' seconds')"),
    "TIME": ("now() - n * interval '1 second'", "datetime('now', -n || ' seconds')"),
    "BYTEA": ("'{}'::bytea", ""),
    "BLOB": ("", "CAST('{}' AS BLOB)"),
    "JSON": ("'[]'::json", "'[]'"),
}


def _value(column: sa.Column[object], dialect: str) -> str:
    """Return the SQL expression of a column's value in row `n`."""
    text, is_sqlite = str(column.type.compile()).upper(), dialect == "sqlite"
    if column.foreign_keys:
        return _value(next(iter(column.foreign_keys)).column, dialect)
    if column.name in VALUES and ("INT" not in text or column.name == "position"):
        found = VALUES[column.name]
        if is_sqlite:
            return found.replace("lpad(n::text, 32, '0')", "printf('%032d', n)")
        return f"({found})::json" if "JSON" in text else found
    return next((both[is_sqlite] for word, both in TYPES.items() if word in text), "'a text ' || n")


async def fill(database: Database, rows: int) -> None:
    """Put so many rows into each table that there is."""
    tables = sa.MetaData()
    async with database.engine.connect() as connection:
        await connection.run_sync(tables.reflect)
        dialect = connection.dialect.name
    numbers = f"generate_series(1, {rows}) AS n"
    if dialect == "sqlite":
        one_more = f"SELECT n + 1 FROM s WHERE n < {rows:d}"  # noqa: S608
        numbers = f"(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL {one_more}) SELECT n FROM s)"  # noqa: S608
    statements = []
    for table in tables.sorted_tables:
        if table.name.startswith("alembic_version"):
            continue
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        values = ", ".join(_value(column, dialect) for column in table.columns)
        statements.append(f'INSERT INTO "{table.name}" ({columns}) SELECT {values} FROM {numbers}')  # noqa: S608
    if dialect == "sqlite":
        with closing(sqlite3.connect(str(database.engine.url.database))) as file:
            for statement in statements:
                file.execute(statement)
            file.commit()
        return
    # Not by the engine, which cuts off what takes long.
    server = await asyncpg.connect(database.engine.url.render_as_string(hide_password=False).replace("+asyncpg", ""))
    try:
        for statement in (*statements, "ANALYZE"):
            await server.execute(statement)
    finally:
        await server.close()


@asynccontextmanager
async def locks_seen(database: Database) -> AsyncIterator[tuple[dict[str, float], dict[str, float]]]:
    """Look every few milliseconds for how long tables are locked against writing, and against reading."""
    writing: dict[str, float] = {}
    reading: dict[str, float] = {}

    async def look() -> None:
        async with database.engine.connect() as connection:
            before = time.monotonic()
            while True:
                now = time.monotonic()
                for table, modes in (await connection.execute(LOCKS)).all():
                    if STOPS_READING in modes:
                        reading[table] = reading.get(table, 0) + now - before
                    if not STOPS_WRITING.isdisjoint(modes):
                        writing[table] = writing.get(table, 0) + now - before
                await connection.rollback()
                before = now
                await asyncio.sleep(LOOK_S)

    looking = asyncio.create_task(look())
    try:
        yield writing, reading
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def try_service(service: str, server: str, rows: int) -> AsyncIterator[Trial]:
    """Migrate the service's tables step by step, with rows in them."""
    first, *later = revisions_of(service)
    with fresh_database(server) as url, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with open_database(url, folder, service) as postgres, open_database("", folder, service) as sqlite:
            for database in (postgres, sqlite):
                with migrations_up_to(service, first) as migrations:
                    await migrate(database, migrations, service, folder)
                await fill(database, rows)
            for revision in later:
                with migrations_up_to(service, revision) as migrations:
                    async with locks_seen(postgres) as (writing, reading):
                        begun = time.monotonic()
                        await migrate(postgres, migrations, service, folder)
                        postgres_s = time.monotonic() - begun
                    begun = time.monotonic()
                    await migrate(sqlite, migrations, service, folder)
                    yield Trial(f"{service} {revision.stem}", postgres_s, time.monotonic() - begun, writing, reading)


def _locked(seconds: dict[str, float]) -> str:
    """Say how long which table was locked, the longest first; what is below 10 ms is not told."""
    longest = sorted(((time_s, table) for table, time_s in seconds.items() if time_s >= 0.01), reverse=True)
    return ", ".join(f"{table} {time_s:.2f} s" for time_s, table in longest) or "—"


async def _print_all(rows: int) -> None:
    sys.stdout.write("| migration | PostgreSQL | writing waits | reading waits | SQLite |\n|---|---|---|---|---|\n")
    with running_postgres() as server:
        for service in WITH_TABLES:
            async for trial in try_service(service, server, rows):
                sys.stdout.write(
                    f"| {trial.name} | {trial.postgres_s:.2f} s | {_locked(trial.writing_s)} | {_locked(trial.reading_s)}"
                    f" | {trial.sqlite_s:.2f} s |\n"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_print_all(int(sys.argv[1]) if sys.argv[1:] else ROWS))
