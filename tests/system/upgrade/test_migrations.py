"""Each migration with rows in its tables; `python -m tools.try_migrations` does so with 100,000 and prints what it cost."""

from __future__ import annotations

import pytest

from shared.persistence.migrations import WITH_TABLES
from tools.try_migrations import revisions_of, try_service

ROWS = 2_000


@pytest.mark.parametrize("service", WITH_TABLES)
async def test_each_migration_takes_tables_with_rows(service: str, postgres_server_url: str) -> None:
    trials = [trial async for trial in try_service(service, postgres_server_url, ROWS)]
    assert [trial.name for trial in trials] == [f"{service} {path.stem}" for path in revisions_of(service)[1:]]
