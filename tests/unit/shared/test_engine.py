from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from shared.errors import DependencyDown, StorageFull, UnusableDatabase
from shared.persistence.engine import Database, UtcDateTime, database_errors, is_unique_violation, open_database
from shared.persistence.migrations import migrate
from tests.support.processes import free_port

METADATA = sa.MetaData()
NOTES = sa.Table(
    "notes",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("text", sa.Text, unique=True),
    sa.Column("at", UtcDateTime),
)
MIGRATION = """
import sqlalchemy as sa
from alembic import op
revision = "1"
down_revision = None
def upgrade():
    op.create_table("things", sa.Column("id", sa.Integer, primary_key=True))
    op.execute("INSERT INTO things (id) VALUES (1)")
"""
BROKEN = """
from alembic import op
revision = "2"
down_revision = "1"
def upgrade():
    op.execute("INSERT INTO things (id) VALUES (2)")
    op.execute("INSERT INTO no_such_table VALUES (1)")
"""
SLOW = """
from alembic import op
revision = "2"
down_revision = "1"
def upgrade():
    op.execute("SELECT pg_sleep(2)")
"""
COLUMN = """
import sqlalchemy as sa
from alembic import op
revision = "2"
down_revision = "1"
def upgrade():
    op.add_column("things", sa.Column("colour", sa.Text))
"""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else ""


@pytest.fixture
async def database(url: str, tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(url, tmp_path, "test") as opened:
        async with opened.begin() as connection:
            await connection.run_sync(METADATA.create_all)
        yield opened


async def texts(database: Database) -> list[str]:
    async with database.read() as connection:
        return list(await connection.scalars(sa.select(NOTES.c.text).order_by(NOTES.c.id)))


class TestTransactions:
    async def test_a_block_that_ends_commits(self, database: Database) -> None:
        async with database.begin() as connection:
            await connection.execute(sa.insert(NOTES), {"text": "kept"})
        assert await texts(database) == ["kept"]

    async def test_a_block_that_raises_leaves_nothing(self, database: Database) -> None:
        async def write_and_fail() -> None:
            async with database.begin() as connection:
                await connection.execute(sa.insert(NOTES), {"text": "gone"})
                raise RuntimeError

        with pytest.raises(RuntimeError):
            await write_and_fail()
        assert await texts(database) == []

    async def test_a_cancelled_block_leaves_nothing_and_blocks_nobody(self, database: Database) -> None:
        written = asyncio.Event()

        async def write() -> None:
            async with database.begin() as connection:
                await connection.execute(sa.insert(NOTES), {"text": "gone"})
                written.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(write())
        await written.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with database.begin() as connection:
            await connection.execute(sa.insert(NOTES), {"text": "next"})
        assert await texts(database) == ["next"]

    async def test_a_hundred_writers_at_once_all_get_their_turn(self, database: Database) -> None:
        async def write(number: int) -> None:
            async with database.begin() as connection:
                # Read, then write: what deadlocks where the lock is taken late.
                await connection.execute(sa.select(sa.func.count()).select_from(NOTES))
                await connection.execute(sa.insert(NOTES), {"text": str(number)})

        await asyncio.gather(*(write(number) for number in range(100)))
        assert len(await texts(database)) == 100

    async def test_readers_wait_for_no_writer(self, database: Database) -> None:
        async with database.begin() as connection:
            await connection.execute(sa.insert(NOTES), {"text": "not yet"})
            assert await texts(database) == []
            await database.check()

    async def test_a_violated_constraint_is_told_by_its_name(self, database: Database) -> None:
        with pytest.raises(IntegrityError) as violated:
            async with database.begin() as connection:
                await connection.execute(sa.insert(NOTES), [{"text": "a"}, {"text": "a"}])
        assert is_unique_violation(violated.value, "notes")
        assert not is_unique_violation(violated.value, "others")

    async def test_times_come_back_aware_and_in_utc(self, database: Database) -> None:
        at = datetime(2026, 7, 1, 14, 30, 0, 123456, timezone(timedelta(hours=2)))
        async with database.begin() as connection:
            await connection.execute(sa.insert(NOTES), [{"text": "a", "at": at}, {"text": "b", "at": None}])
        async with database.read() as connection:
            first, second = await connection.scalars(sa.select(NOTES.c.at).order_by(NOTES.c.id))
        assert first == at
        assert first.tzinfo is UTC
        assert second is None


class TestInserts:
    async def test_a_row_is_there_when_it_is_answered(self, database: Database) -> None:
        await database.insert(NOTES, {"text": "kept"})
        assert await texts(database) == ["kept"]

    async def test_of_rows_that_wait_together_the_one_that_violates_is_refused_alone(self, database: Database) -> None:
        words = ["a", "b", "a", "c", "b", "d"]
        ends = await asyncio.gather(*(database.insert(NOTES, {"text": word}) for word in words), return_exceptions=True)
        assert sum(isinstance(end, IntegrityError) for end in ends) == 2
        assert sorted(await texts(database)) == ["a", "b", "c", "d"]

    async def test_rows_and_transactions_at_once_all_get_their_turn(self, database: Database) -> None:
        async def write(number: int) -> None:
            async with database.begin() as connection:
                await connection.execute(sa.insert(NOTES), {"text": f"alone {number}"})

        together = (database.insert(NOTES, {"text": f"together {number}"}) for number in range(300))
        await asyncio.gather(*together, *(write(number) for number in range(20)))
        assert len(await texts(database)) == 320

    async def test_a_row_whose_caller_is_cancelled_is_settled_by_then(self, database: Database) -> None:
        tasks = [asyncio.create_task(database.insert(NOTES, {"text": str(number)})) for number in range(10)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)
        found = await texts(database)
        await asyncio.sleep(0.1)
        assert await texts(database) == found

    async def test_rows_that_wait_together_share_a_commit(self, tmp_path: Path) -> None:
        async with open_database("", tmp_path, "test") as database:
            async with database.begin() as connection:
                await connection.run_sync(METADATA.create_all)
            commits: list[object] = []
            sa.event.listen(database._blocking, "commit", commits.append)
            await asyncio.gather(*(database.insert(NOTES, {"text": str(number)}) for number in range(100)))
            assert len(commits) == 1

    async def test_what_keeps_all_rows_from_being_written_is_told_to_each(self, tmp_path: Path) -> None:
        async with (
            open_database("", tmp_path, "test") as one,
            open_database("", tmp_path, "test") as other,
        ):
            async with one.begin() as connection:
                await connection.run_sync(METADATA.create_all)
            async with one.begin():
                ends = await asyncio.gather(
                    *(other.insert(NOTES, {"text": str(number)}) for number in range(3)), return_exceptions=True
                )
            assert [type(end) for end in ends] == [DependencyDown] * 3
            await other.insert(NOTES, {"text": "later"})
            assert await texts(one) == ["later"]


class TestTrouble:
    async def test_a_database_that_is_not_there_is_a_dependency_down(self, tmp_path: Path) -> None:
        async with open_database(f"postgresql+asyncpg://a@127.0.0.1:{free_port()}/b", tmp_path, "test") as database:
            for attempt in (database.begin, database.read):
                with pytest.raises(DependencyDown) as down:
                    async with attempt():
                        pass
                assert down.value.code == "database_unavailable"
            with pytest.raises(DependencyDown):
                await database.check()
            with pytest.raises(DependencyDown):
                await migrate(database, tmp_path, "test", tmp_path)

    async def test_a_full_disk_is_storage_full(self, tmp_path: Path) -> None:
        async def fill() -> None:
            async with open_database("", tmp_path, "test") as database, database.begin() as connection:
                await connection.run_sync(METADATA.create_all)
                await connection.exec_driver_sql("PRAGMA max_page_count=10")
                await connection.execute(sa.insert(NOTES), {"text": "x" * 100_000})

        with pytest.raises(StorageFull):
            await fill()

    def test_a_disk_without_room_for_the_journal_is_storage_full(self) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorname = "SQLITE_IOERR_SHMSIZE"
        with pytest.raises(StorageFull), database_errors():
            raise sa.exc.OperationalError("PRAGMA journal_mode=WAL", None, error)

    async def test_a_lock_that_another_process_keeps_is_a_dependency_down(self, tmp_path: Path) -> None:
        async with (
            open_database("", tmp_path, "test") as one,
            open_database("", tmp_path, "test") as other,
            one.begin(),
        ):
            with pytest.raises(DependencyDown):
                async with other.begin():
                    pass


class TestMigrations:
    @pytest.fixture
    def migrations(self, tmp_path: Path) -> Path:
        folder = tmp_path / "100% migrations"
        (folder / "versions").mkdir(parents=True)
        (folder / "env.py").write_text("from shared.persistence.migrations import run_migrations\n\nrun_migrations()\n")
        (folder / "versions" / "1.py").write_text(MIGRATION)
        return folder

    async def things(self, database: Database) -> int:
        async with database.read() as connection:
            return int(await connection.scalar(sa.text("SELECT count(*) FROM things")) or 0)

    async def test_of_three_that_start_at_once_one_migrates(self, url: str, tmp_path: Path, migrations: Path) -> None:
        async def start() -> None:
            async with open_database(url, tmp_path, "test") as database:
                await migrate(database, migrations, "test", tmp_path)

        await asyncio.gather(*(start() for _ in range(3)))
        async with open_database(url, tmp_path, "test") as database:
            assert await self.things(database) == 1

    async def test_one_that_fails_leaves_the_tables_as_they_were(
        self, url: str, tmp_path: Path, migrations: Path
    ) -> None:
        async with open_database(url, tmp_path, "test") as database:
            await migrate(database, migrations, "test", tmp_path)
            (migrations / "versions" / "2.py").write_text(BROKEN)
            with pytest.raises(DependencyDown):
                await migrate(database, migrations, "test", tmp_path)
            assert await self.things(database) == 1

    async def test_tables_of_a_newer_release_are_refused_and_stay_as_they_are(
        self, url: str, tmp_path: Path, migrations: Path
    ) -> None:
        async with open_database(url, tmp_path, "test") as database:
            await migrate(database, migrations, "test", tmp_path)
            async with database.begin() as connection:
                await connection.execute(sa.text("UPDATE alembic_version_test SET version_num = 'from-tomorrow'"))
            with pytest.raises(
                UnusableDatabase, match=r"^The tables of test were migrated by a newer release than this"
            ):
                await migrate(database, migrations, "test", tmp_path)
            async with database.read() as connection:
                version = await connection.scalar(sa.text("SELECT version_num FROM alembic_version_test"))
            assert (version, await self.things(database)) == ("from-tomorrow", 1)

    async def test_tables_whose_revision_is_lost_are_refused(self, url: str, tmp_path: Path, migrations: Path) -> None:
        async with open_database(url, tmp_path, "test") as database:
            await migrate(database, migrations, "test", tmp_path)
            async with database.begin() as connection:
                await connection.execute(sa.text("DELETE FROM alembic_version_test"))
            with pytest.raises(UnusableDatabase, match=r"^The database of test \(.+\) is damaged"):
                await migrate(database, migrations, "test", tmp_path)
            assert await self.things(database) == 1

    async def test_one_that_takes_long_is_not_cut_off_as_other_statements_are(
        self, postgres_url: str, tmp_path: Path, migrations: Path
    ) -> None:
        (migrations / "versions" / "2.py").write_text(SLOW)
        async with open_database(postgres_url, tmp_path, "test") as database:
            await migrate(database, migrations, "test", tmp_path)
            assert await self.things(database) == 1

    async def test_a_table_that_somebody_uses_is_waited_for_without_holding_others_up(
        self, postgres_url: str, tmp_path: Path, migrations: Path
    ) -> None:
        async with open_database(postgres_url, tmp_path, "test") as database:
            await migrate(database, migrations, "test", tmp_path)
            (migrations / "versions" / "2.py").write_text(COLUMN)
            async with database.engine.connect() as reader:
                await reader.execute(sa.text("SELECT * FROM things"))
                migrating = asyncio.create_task(migrate(database, migrations, "test", tmp_path))
                async with database.engine.connect() as watcher:
                    waits = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
                    while not await watcher.scalar(waits):  # noqa: ASYNC110 - PostgreSQL sets no event
                        await asyncio.sleep(0.01)
                assert await self.things(database) == 1
                await reader.rollback()
            await migrating
            async with database.read() as connection:
                assert await connection.scalar(sa.text("SELECT count(colour) FROM things")) == 0

    async def test_services_that_share_a_database_keep_their_own_count(
        self, url: str, tmp_path: Path, migrations: Path
    ) -> None:
        async with open_database(url, tmp_path, "shared") as database:
            await migrate(database, migrations, "test", tmp_path)
            other = migrations.parent / "other"
            (other / "versions").mkdir(parents=True)
            (other / "env.py").write_text((migrations / "env.py").read_text())
            (other / "versions" / "1.py").write_text(MIGRATION.replace("things", "other_things"))
            await migrate(database, other, "other-service", tmp_path)
            assert await self.things(database) == 1
