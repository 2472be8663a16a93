"""What the release before wrote is there under this one, and its processes go on beside this one's."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.persistence.engine import open_database
from shared.persistence.migrations import SERVICES, WITH_TABLES, migrate
from tests.support.release_before import FIXTURE
from tests.support.stack import running_stack
from tests.system.upgrade.conftest import LeftBehind, load_dump
from tests.system.upgrade.promises import go_on, require_kept, require_tidy


@pytest.mark.parametrize("kind", ["folder_left", "servers_left"])
def test_what_the_release_before_left_is_all_there_and_goes_on(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    left: LeftBehind = request.getfixturevalue(kind)
    with running_stack(tmp_path, left.settings) as stack:
        require_kept(stack.url("gateway"), left.promised)
        go_on(stack.url("gateway"), stack.url("stripe-sandbox"), left.promised)
        require_tidy(stack)


def _value(plain: Any) -> Any:
    if not isinstance(plain, dict):
        return plain
    return datetime.fromisoformat(plain["time"]) if "time" in plain else bytes.fromhex(plain["bytes"])


async def _run(connection: AsyncConnection, statement: str, values: list[Any]) -> None:
    """Run a statement; that a row is there already, or one it belongs to is not, says nothing about the tables."""
    begun = await connection.begin_nested()
    try:
        await connection.exec_driver_sql(statement, tuple(map(_value, values)))
        await begun.commit()
    except sa.exc.DBAPIError as error:
        await begun.rollback()
        if not any(
            words in str(error.orig) for words in ("violates unique constraint", "violates foreign key constraint")
        ):
            raise


async def test_each_statement_of_the_release_before_runs_on_these_tables(postgres_url: str, tmp_path: Path) -> None:
    await asyncio.to_thread(load_dump, postgres_url)
    statements = json.loads((FIXTURE / "statements.json").read_text())
    assert {"INSERT INTO planter_leftovers", "INSERT INTO media_images"} <= {text.split(" (")[0] for text in statements}
    async with open_database(postgres_url, tmp_path, "test") as database:
        for service in WITH_TABLES:
            await migrate(database, SERVICES / service.replace("-", "_") / "migrations", service, tmp_path)
        failed = []
        async with database.engine.connect() as connection:
            for statement, values in statements.items():
                try:
                    await _run(connection, statement, values)
                except sa.exc.DBAPIError as error:
                    failed.append(f"{statement}: {error.orig}")
            assert failed == []
