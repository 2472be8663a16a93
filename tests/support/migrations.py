"""Migrations run once a process: SQLite gets what they made again from its statements, PostgreSQL as a copy of the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from shared.persistence import migrations as at_start
from shared.persistence.engine import open_database
from tests.support.postgres import COPY, fresh_database, in_another_thread

SERVICES = Path(__file__).resolve().parents[2] / "services"
OBJECTS = "SELECT name, type, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"


def _rows(connection: sa.Connection, table: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.exec_driver_sql(f'SELECT * FROM "{table}"')]  # noqa: S608


class _Made:
    """What migrations made of an empty database: tables, indexes, and the rows that they wrote."""

    def __init__(self, connection: sa.Connection) -> None:
        objects = connection.exec_driver_sql(OBJECTS).all()
        self._statements = [sql for _, _, sql in objects]
        self._rows = {name: _rows(connection, name) for name, kind, _ in objects if kind == "table"}

    def make_again(self, connection: sa.Connection) -> None:
        for statement in self._statements:
            connection.exec_driver_sql(statement)
        for table, rows in self._rows.items():
            for row in rows:
                connection.exec_driver_sql(f'INSERT INTO "{table}" VALUES ({", ".join("?" * len(row))})', row)  # noqa: S608

    def is_version_of(self, connection: sa.Connection, version_table: str) -> bool:
        return sa.inspect(connection).has_table(version_table) and (
            _rows(connection, version_table) == self._rows[version_table]
        )


@pytest.fixture(scope="session", autouse=True)
def migrations_run_once() -> Iterator[None]:
    """An empty SQLite gets what the migrations made before; what they made and its copies are left alone; others are migrated."""
    run, run_on_postgres = at_start._upgrade, at_start._upgrade_postgres
    made: dict[Path, _Made] = {}

    def upgrade(connection: sa.Connection, migrations: Path, version_table: str) -> None:
        is_ours = connection.dialect.name == "sqlite" and SERVICES in migrations.parents
        is_empty = not connection.exec_driver_sql(OBJECTS).first() if is_ours else False
        known = made.get(migrations) if is_ours else None
        if known and is_empty:
            known.make_again(connection)
        elif known is None or not known.is_version_of(connection, version_table):
            run(connection, migrations, version_table)
            if is_empty:
                made[migrations] = _Made(connection)

    async def upgrade_postgres(url: sa.URL, migrations: Path, version_table: str) -> None:
        if not (str(url.database).startswith(COPY) and SERVICES in migrations.parents):
            await run_on_postgres(url, migrations, version_table)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(at_start, "_upgrade", upgrade)
        patched.setattr(at_start, "_upgrade_postgres", upgrade_postgres)
        yield


async def make_tables(url: str, service: str, folder: Path) -> None:
    """Migrate an empty database of a service: `url`, or SQLite in the folder where there is none."""
    name = service.replace("_", "-")
    async with open_database(url, folder, name) as database:
        await at_start.migrate(database, SERVICES / service / "migrations", name, folder)


@pytest.fixture(scope="session")
def migrated_databases(
    postgres_server_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], str]]:
    """Give a function that returns the name of a database with a service's tables, of which copies can be made."""
    with ExitStack() as made:

        @cache
        def migrated(service: str) -> str:
            url = made.enter_context(fresh_database(postgres_server_url))
            in_another_thread(make_tables(url, service, tmp_path_factory.mktemp("migrated")))
            return str(sa.make_url(url).database)

        yield migrated
