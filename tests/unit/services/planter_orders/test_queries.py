from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ClauseElement, Executable

from services.planter_orders.adapters.sql.changes import Outbox
from services.planter_orders.adapters.sql.jobs import Orphan, Orphans
from services.planter_orders.adapters.sql.orders import OrderRepository
from services.planter_orders.adapters.sql.reading import page_query, summary_of
from services.planter_orders.adapters.sql.release_before import catch_up
from services.planter_orders.adapters.sql.tables import METADATA, ORDERS, OUTBOX
from services.planter_orders.app import MIGRATIONS
from services.planter_orders.model.deliveries import Attempt, DeliveryState
from services.planter_orders.model.orders import OrderFilter, Status
from services.planter_orders.settings import PlanterOrdersSettings
from shared.http.cursors import Position
from shared.persistence.engine import Database, UtcDateTime, open_database
from shared.persistence.migrations import migrate

AT = datetime(2026, 1, 1, tzinfo=UTC)
FILTERS = {
    "planter_orders_newest": OrderFilter(),
    "planter_orders_newest_of_user": OrderFilter(user_id="user-3"),
    "planter_orders_newest_by_status": OrderFilter(status=Status.PAID),
    "planter_orders_newest_of_user_by_status": OrderFilter(user_id="user-3", status=Status.PAID),
    "planter_orders_requested": OrderFilter(has_open_request=True),
    "planter_orders_warned": OrderFilter(is_warned=True),
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
            "user_id": f"user-{number % 7}",
            "status": "paid" if number % 6 == 0 else "pending",
            "created_at": AT + timedelta(seconds=number),
            "last_event_id": number,
            "newest_event_id": number,
            "version": 1,
            "photos_attempts": 0,
            "pet_name": f"Rex {number}",
            "pet_name_folded": f"rex {number}",
            "open_requests": int(number % 50 == 0),
            "is_warned": number % 7 == 0,
        }
        for number in range(count)
    ]


@pytest.fixture
def postgres_url(empty_database: str) -> str:
    """Give a database without tables: here the migrations make them."""
    return empty_database


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
        for after in (None, Position(AT + timedelta(seconds=4000), "0" * 32)):
            found = await plan(connection, page_query(FILTERS[index], after, 20))
            assert index in found
            # Nothing is sorted, and nothing read that is not shown.
            assert "Sort" not in found
            assert "TEMP B-TREE" not in found
            assert "Filter" not in found
            if after is not None:
                assert "SCAN" not in found


async def test_a_part_of_a_name_is_looked_for_in_its_index_alone(database: Database) -> None:
    async with database.begin() as connection:
        await connection.execute(ORDERS.insert(), rows(5000))
    async with database.begin() as connection:
        await connection.execute(sa.text("ANALYZE"))
    async with database.begin() as connection:
        query = page_query(OrderFilter(pet_name="EX 4999"), None, 20)
        if database.is_postgres:  # these rows are so few and small that it would read them all
            await connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        found = await plan(connection, query)
        assert "planter_orders_names" in found
        assert database.is_postgres or "COVERING INDEX" in found
        assert [row.pet_name for row in await connection.execute(query)] == ["Rex 4999"]


async def test_the_summary_reads_as_much_however_many_orders_there_are(database: Database) -> None:
    def seen(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        statements.append((statement, parameters))

    statements: list[tuple[str, Any]] = []
    async with database.begin() as connection:
        await connection.execute(ORDERS.insert(), rows(5000))
    async with database.begin() as connection:
        await connection.execute(sa.text("ANALYZE"))
    words = "EXPLAIN" if database.is_postgres else "EXPLAIN QUERY PLAN"
    plans = []
    async with database.begin() as connection:
        sa.event.listen(connection.sync_connection, "before_cursor_execute", seen)
        await summary_of(connection)
        asked = tuple(statements)
        for statement, parameters in asked:
            explained = await connection.exec_driver_sql(f"{words} {statement}", parameters)
            plans.append("\n".join(str(row[-1]) for row in explained))
    counters, oldest = plans
    assert "planter_orders" not in counters
    assert "planter_orders_paid" in oldest
    assert "Sort" not in oldest
    assert "TEMP B-TREE" not in oldest


async def test_the_next_due_and_the_next_page_of_deliveries_are_read_from_an_index(database: Database) -> None:
    async with database.begin() as connection:
        await connection.execute(
            OUTBOX.insert(),
            [
                {
                    "message_id": f"msg_{number}",
                    "order_id": f"{number % 100:032x}",
                    "body": b"{}",
                    "created_at": AT,
                    "tried_since": AT,
                    "due_at": AT,
                    "attempts": 1,
                    "state": "pending" if number % 1000 == 0 else "delivered",
                }
                for number in range(5000)
            ],
        )
        await connection.execute(sa.text("ANALYZE"))
    outbox = Outbox(database)
    assert len(await outbox.take_due(AT, AT + timedelta(seconds=30), 10)) == 1  # all five are of one order
    async with database.begin() as connection:
        page = sa.select(OUTBOX.c.seq).where(OUTBOX.c.state == "delivered").order_by(OUTBOX.c.seq.desc()).limit(20)
        found = await plan(connection, page)
        assert "Sort" not in found
        assert "TEMP B-TREE" not in found


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
async def test_what_was_kept_before_the_migration_is_counted_and_found(
    request: pytest.FixtureRequest, embedded: PlanterOrdersSettings, tmp_path: Path, backend: str
) -> None:
    url = request.getfixturevalue("postgres_url") if backend == "postgres" else ""
    first = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, first, ignore=shutil.ignore_patterns("000[2-9]*", "__pycache__"))
    async with open_database(url, embedded.data_dir, "planter-orders") as database:
        await migrate(database, first, "planter-orders", embedded.data_dir)
        async with database.begin() as connection:
            await keep_as_before(connection)
        await migrate(database, MIGRATIONS, "planter-orders", embedded.data_dir)
        await catch_up(database, AT)
        orders, orphans, outbox = OrderRepository(database, with_webhooks=True), Orphans(database), Outbox(database)
        summary = await orders.summary()
        assert (summary.orders[Status.PAID], summary.orders[Status.PENDING]) == (2, 1)
        assert summary.pending_deliveries == 1
        named = await orders.page(OrderFilter(pet_name="strasse"), None, 10)
        warned = await orders.page(OrderFilter(is_warned=True), None, 10)
        assert [order.id for order in named] == [order.id for order in warned] == ["0" * 32]
        assert await orphans.take_due(AT, AT, 10) == [Orphan("f" * 32, "ann")]
        (message,) = await outbox.take_due(AT, AT, 10)
        assert (message.message_id, message.tried_since) == ("msg_1", AT)


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
async def test_what_the_release_before_writes_beside_this_one_is_counted_and_found(
    request: pytest.FixtureRequest, embedded: PlanterOrdersSettings, backend: str
) -> None:
    url = request.getfixturevalue("postgres_url") if backend == "postgres" else ""
    async with open_database(url, embedded.data_dir, "planter-orders") as database:
        await migrate(database, MIGRATIONS, "planter-orders", embedded.data_dir)
        orders, orphans, outbox = OrderRepository(database, with_webhooks=True), Orphans(database), Outbox(database)
        async with database.begin() as connection:
            await keep_as_before(connection)
            await connection.execute(sa.text("UPDATE planter_orders SET photos_due_at = NULL"))
        assert (await orders.summary()).orders[Status.PAID] == 0
        for _ in range(2):
            await catch_up(database, AT)
            summary = await orders.summary()
            assert (summary.orders[Status.PAID], summary.orders[Status.PENDING]) == (2, 1)
            assert (summary.pending_deliveries, summary.photo_requests) == (1, 0)
        named = await orders.page(OrderFilter(pet_name="strasse"), None, 10)
        warned = await orders.page(OrderFilter(is_warned=True), None, 10)
        assert [order.id for order in named] == [order.id for order in warned] == ["0" * 32]
        assert await orphans.take_due(AT, AT, 10) == [Orphan("f" * 32, "ann")]
        (message,) = await outbox.take_due(AT, AT, 10)
        assert message.tried_since == AT
        await outbox.finish(message.seq, DeliveryState.DELIVERED, Attempt(AT, 200))
        async with database.read() as connection:  # as the release before looks for what it sends
            due = sa.text("SELECT count(*) FROM planter_outbox WHERE due_at <= :now").bindparams(
                sa.bindparam("now", AT, UtcDateTime)
            )
            assert await connection.scalar(due) == 0


async def keep_as_before(connection: AsyncConnection) -> None:
    """Write rows as the first edition did."""
    tables = sa.MetaData()
    await connection.run_sync(tables.reflect)
    at = AT.replace(tzinfo=AT.tzinfo if connection.dialect.name == "postgresql" else None)
    photo = {"original_filename": "x", "content_type": "x", "size": 1, "width": 1, "height": 1, "sha256": "x"}
    kept = [("paid", "Straße", ["small"]), ("paid", None, []), ("pending", "REX", None)]
    for number, (status, name, warnings) in enumerate(kept):
        order_id = f"{number:032x}"
        order = {**rows(1)[0], "id": order_id, "status": status, "pet_name": name, "created_at": at}
        for newer in ("newest_event_id", "pet_name_folded", "open_requests", "is_warned"):
            del order[newer]
        await connection.execute(tables.tables["planter_orders"].insert().values(**order))
        file = {
            **photo,
            "order_id": order_id,
            "position": 0,
            "filename": "x",
            "warnings": sa.null() if warnings is None else warnings,
        }
        await connection.execute(tables.tables["planter_files"].insert().values(**file))
    due = {"due_at": at, "order_id": "f" * 32}
    orphan = {**due, "user_id": "ann", "doomed": False, "passes": 0}
    await connection.execute(tables.tables["planter_leftovers"].insert().values(**orphan))
    message = {**due, "message_id": "msg_1", "body": b"{}", "created_at": at, "attempts": 1}
    await connection.execute(tables.tables["planter_outbox"].insert().values(**message))


async def test_the_migrations_make_the_tables_that_the_code_uses(database: Database) -> None:
    def compare(connection: sa.Connection) -> list[str]:
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        context = MigrationContext.configure(connection, opts={"version_table": "alembic_version_planter-orders"})
        return [str(difference) for difference in compare_metadata(context, METADATA)]

    async with database.engine.connect() as connection:
        differences = await connection.run_sync(compare)
    assert [each for each in differences if "alembic_version" not in each] == []
