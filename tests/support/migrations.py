"""Migrations of SQLite run once a process; what they made is then made again from its statements, in a twentieth of the time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from shared.persistence import migrations as at_start

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
    """An empty database gets what the migrations made before, one that they made is left alone; any other is migrated."""
    run = at_start._upgrade
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

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(at_start, "_upgrade", upgrade)
        yield
