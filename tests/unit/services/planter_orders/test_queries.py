from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ClauseElement, Executable

from services.planter_orders.adapters.sql.orders import page_query
from services.planter_orders.adapters.sql.tables import METADATA, ORDERS
from services.planter_orders.app import MIGRATIONS
from services.planter_orders.model.orders import OrderFilter, Place
from services.planter_orders.model.status import Status
from services.planter_orders.settings import PlanterOrdersSettings
from shared.persistence.engine import Database, migrate, open_database

AT = datetime(2026, 1, 1, tzinfo=UTC)
FILTERS = {
    "planter_orders_newest": OrderFilter(),
    "planter_orders_newest_of_user": OrderFilter(user_id="user-3"),
    "planter_orders_newest_by_status": OrderFilter(status=Status.PAID),
    "planter_orders_newest_of_user_by_status": OrderFilter(user_id="user-3", status=Status.PAID),
}


class Explain(Executable, ClauseElement):
    inherit_cache = False

    def __init__(self, statement: sa.Select[Any]) -> None:
        self.statement = statement


@compiles(Explain)
def _explain(element: Explain, compiler: Any, **options: Any) -> str:
    words = "EXPLAIN QUERY PLAN" if compiler.dialect.name == "sqlite" else "EXPLAIN"
    return f"{words} {compiler.process(element.statement, **options)}"


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{number:032x}",
            "user_id": f"user-{number % 5}",
            "status": "paid" if number % 3 == 0 else "pending",
            "created_at": AT + timedelta(seconds=number),
            "last_event_id": number,
            "version": 1,
            "photos_attempts": 0,
        }
        for number in range(count)
    ]


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, embedded: PlanterOrdersSettings) -> AsyncIterator[Database]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    async with open_database(url, embedded.data_dir, "planter-orders") as opened:
        await migrate(opened, MIGRATIONS, "planter-orders", embedded.data_dir)
        yield opened


async def plan(connection: Any, query: sa.Select[Any]) -> str:
    found: Sequence[sa.Row[Any]] = (await connection.execute(Explain(query))).all()
    return "\n".join(str(row[-1]) for row in found)


@pytest.mark.parametrize("index", FILTERS)
async def test_every_listing_reads_its_index_from_where_it_stands(database: Database, index: str) -> None:
    async with database.begin() as connection:
        await connection.execute(ORDERS.insert(), rows(5000))
    async with database.begin() as connection:
        await connection.execute(sa.text("ANALYZE"))
        for after in (None, Place(AT + timedelta(seconds=4000), "0" * 32)):
            found = await plan(connection, page_query(FILTERS[index], after, 20))
            assert index in found
            # Nothing is sorted, and nothing read that is not shown.
            assert "Sort" not in found
            assert "TEMP B-TREE" not in found
            assert "Filter" not in found
            if after is not None:
                assert "SCAN" not in found


async def test_the_migrations_make_the_tables_that_the_code_uses(database: Database) -> None:
    def compare(connection: sa.Connection) -> list[str]:
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        context = MigrationContext.configure(connection, opts={"version_table": "alembic_version_planter-orders"})
        return [str(difference) for difference in compare_metadata(context, METADATA)]

    async with database.engine.connect() as connection:
        differences = await connection.run_sync(compare)
    assert [each for each in differences if "alembic_version" not in each] == []
