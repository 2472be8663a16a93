"""The tables of each service, brought up to date by Alembic at its start.

`python -m shared.persistence.migrations <service>…` does so before new processes start.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import sqlite3
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
from pydantic import create_model
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.errors import UnusableDatabase
from shared.persistence.engine import Database, create_postgres_engine, database_errors, open_database
from shared.settings import DatabaseSettings, DatabaseUrl, ServerSettings, load_settings, per_service
from shared.settings.command import run_command

SERVICES = Path(__file__).resolve().parents[2] / "services"
MIGRATION_WAIT_S = 60.0
STATEMENT_S = 900.0
LOCK_WAIT_MS = 400  # less than the second after which PostgreSQL ends one of two that wait for each other
TRIES = 100
LOCK_NOT_AVAILABLE = "canceling statement due to lock timeout"
# The last is told of a table whose revision is not kept any more.
DAMAGED = ("file is not a database", "database disk image is malformed", "already exists")
SQLITE_ROOM_BYTES = 2 * 2**20
WITH_TABLES = sorted(path.parent.name.replace("_", "-") for path in SERVICES.glob("*/migrations"))


async def migrate(database: Database, migrations: Path, service: str, data_dir: Path) -> None:
    """Bring the service's tables up to date; of several processes that start at once, one does it while the others wait.

    Raises DependencyDown where the database does not answer, UnusableDatabase before anything is changed.
    """
    version_table = f"alembic_version_{service}"
    with database_errors(), _damage_told(service, database.engine.url):
        if database.is_postgres:
            await _upgrade_postgres(database.engine.url, migrations, version_table)
            return
        lock = _file_lock(data_dir / f"{service}.migrations.lock")
        await asyncio.to_thread(lock.__enter__)
        try:
            async with database.engine.begin() as connection:
                await connection.run_sync(_upgrade, migrations, version_table)
            await asyncio.to_thread(_keep_room, database.engine.url.database or ":memory:")
        finally:
            lock.__exit__(None, None, None)


@contextmanager
def _damage_told(service: str, url: sa.URL) -> Iterator[None]:
    try:
        yield
    except (DBAPIError, sqlite3.DatabaseError) as error:
        if isinstance(error, IntegrityError) or not any(words in str(error) for words in DAMAGED):
            raise
        raise UnusableDatabase(
            f"The database of {service} ({url.database}) is damaged or another program's: restore a backup."
        ) from error


async def _upgrade_postgres(url: sa.URL, migrations: Path, version_table: str) -> None:
    """Migrate on a connection whose statements may take their time: with many rows an index takes longer than an answer may.

    Each migration is a transaction, so that none keeps the locks of another. For a table's lock it waits a moment at most, since
    all who come after it wait behind it, and then begins anew.
    """
    engine, tries_left, is_done = create_postgres_engine(url, STATEMENT_S), TRIES, False
    try:
        while not is_done:
            try:
                async with engine.begin() as connection:
                    await _lock_migrations(connection, version_table)
                    await connection.execute(sa.text(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}"))
                    is_done = await connection.run_sync(_upgrade_to, "+1", migrations, version_table)
            except DBAPIError as error:
                tries_left -= 1
                if not tries_left or LOCK_NOT_AVAILABLE not in str(error.orig):
                    raise
    finally:
        await engine.dispose()


def _upgrade(connection: sa.Connection, migrations: Path, version_table: str) -> None:
    _upgrade_to(connection, "head", migrations, version_table)


def _upgrade_to(connection: sa.Connection, target: str, migrations: Path, version_table: str) -> bool:
    """Migrate as far as `target`; return whether there was nothing to do."""
    from alembic import command  # noqa: PLC0415 - a quarter of a second that only the start needs
    from alembic.config import Config  # noqa: PLC0415
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes.update(connection=connection, version_table=version_table)
    scripts = ScriptDirectory.from_config(config)
    found = MigrationContext.configure(connection, opts={"version_table": version_table}).get_current_heads()
    if not {script.revision for script in scripts.walk_revisions()}.issuperset(found):
        service = version_table.removeprefix("alembic_version_")
        raise UnusableDatabase(
            f"The tables of {service} were migrated by a newer release than this one: run that release, or restore a backup."
        )
    if set(found) == set(scripts.get_heads()):
        return True
    command.upgrade(config, target)
    return False


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


def run_migrations() -> None:
    """Be the `env.py` of every service.

    Inside the caller's transaction, so that a start that is killed leaves the tables as they were.
    """
    from alembic import context  # noqa: PLC0415

    attributes = context.config.attributes
    context.configure(connection=attributes["connection"], version_table=attributes["version_table"])
    with context.begin_transaction():
        context.run_migrations()


class MigrationSettings(ServerSettings, DatabaseSettings):
    """Where the tables are."""


def _settings_of(service: str) -> MigrationSettings:
    url = per_service("DATABASE_URL", service.upper().replace("-", "_"), "")
    return load_settings(create_model("MigrationSettings", __base__=MigrationSettings, database_url=(DatabaseUrl, url)))


async def _migrate(services: Sequence[str]) -> None:
    for service in services:
        settings = _settings_of(service)
        async with open_database(settings.database_url, settings.data_dir, service) as database:
            await migrate(database, SERVICES / service.replace("-", "_") / "migrations", service, settings.data_dir)
        sys.stdout.write(f"The tables of {service} are up to date.\n")


def main() -> None:
    """Migrate the services named; end with status 1 and one sentence where that cannot be now, 2 where never."""
    parser = argparse.ArgumentParser(prog="python -m shared.persistence.migrations")
    parser.add_argument("services", nargs="+", choices=WITH_TABLES, metavar="service")
    run_command(_migrate(parser.parse_args().services))


if __name__ == "__main__":
    main()
