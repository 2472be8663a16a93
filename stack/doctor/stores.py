"""What Keepsake keeps its state in: Redis, and the database of each service."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from redis.exceptions import AuthenticationError, NoPermissionError, OutOfMemoryError

from shared.errors import DependencyDown
from shared.persistence.engine import database_errors, open_database
from shared.persistence.migrations import SERVICES
from shared.persistence.redis import open_redis, redis_errors
from stack.doctor.findings import Finding, failure, right, wrong

NO_EVICTION = "noeviction"
REDIS_REFUSALS = {
    AuthenticationError: ("it refuses the user or password of REDIS_URL.", "set those that Redis has."),
    NoPermissionError: ("the user of REDIS_URL may not do all that is needed.", "give the user leave (ACL SETUSER)."),
    OutOfMemoryError: ("its memory is full: it takes no more keys.", "raise its maxmemory."),
}


async def check_redis(url: str) -> AsyncIterator[Finding]:
    """Write and remove a key, and see that Redis throws nothing away by itself."""
    key = f"keepsake-doctor:{secrets.token_hex(8)}"
    async with open_redis(url) as redis:
        try:
            with redis_errors():
                await redis.set(key, b"1", ex=60)
                await redis.delete(key)
                memory = await redis.info("memory")
        except DependencyDown as error:
            refusals = [said for kind, said in REDIS_REFUSALS.items() if isinstance(error.__cause__, kind)]
            yield wrong("redis", *refusals[0]) if refusals else failure("redis", error)
            return
    yield right("redis", "it answers, and takes keys.")
    policy = memory.get("maxmemory_policy", NO_EVICTION)
    if policy == NO_EVICTION:
        yield right("redis eviction", "it evicts nothing.")
    else:
        yield wrong(
            "redis eviction",
            f"its maxmemory-policy is {policy}: images and ended sessions would be lost when it is full.",
            "CONFIG SET maxmemory-policy noeviction, and the same in its configuration.",
        )


async def check_tables(service: str, url: str, data_dir: Path) -> AsyncIterator[Finding]:
    """Compare the revision of the service's tables with the code's."""
    what = f"tables of {service}"
    scripts = _scripts_of(service)
    head, known = scripts.get_current_head(), {script.revision for script in scripts.walk_revisions()}
    if _is_new(url, data_dir / f"{service}.db"):
        yield right(what, "there is no database yet: the first start makes it.")
        return
    found = await _revision(url, data_dir, service)
    if found == head:
        yield right(what, f"they are up to date (revision {head}).")
    elif found is None or found in known:
        yield wrong(
            what,
            f"they are not migrated: at revision {found or 'none'}, and the code needs {head}.",
            f"start {service}, which migrates by itself, or run python -m shared.persistence.migrations {service}",
        )
    else:
        yield wrong(
            what, "they were migrated by a newer release than this one.", "run that release, or restore a backup."
        )


def _scripts_of(service: str) -> ScriptDirectory:
    config = Config()
    folder = SERVICES / service.replace("-", "_") / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return ScriptDirectory.from_config(config)


def _is_new(url: str, file: Path) -> bool:
    """Tell whether it is SQLite's file and not there; to connect would make it."""
    parts = sa.make_url(url) if url else None
    if parts is not None and parts.get_backend_name() != "sqlite":
        return False
    return not (Path(parts.database or "") if parts is not None else file).exists()


async def _revision(url: str, data_dir: Path, service: str) -> str | None:
    table = f"alembic_version_{service}"

    def read(connection: sa.Connection) -> str | None:
        if not sa.inspect(connection).has_table(table):
            return None
        return connection.scalar(sa.select(sa.column("version_num")).select_from(sa.table(table)))

    async with open_database(url, data_dir, service) as database:
        with database_errors():
            async with database.engine.connect() as connection:
                return await connection.run_sync(read)
