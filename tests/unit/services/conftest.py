from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from shared.persistence import engine
from tests.support.postgres import fresh_database

LIMITS = ("TURN_S", "POOL_TIMEOUT_S", "CONNECT_TIMEOUT_S", "STATEMENT_TIMEOUT_S")


@pytest.fixture(autouse=True)
def _patient_databases(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fifty at once wait for each other, however busy the machine is; tests of faults keep the limits of customers."""
    for limit in LIMITS if request.path.name != "test_faults.py" else LIMITS[:1]:
        monkeypatch.setattr(engine, limit, 30.0)


@pytest.fixture
def postgres_url(
    request: pytest.FixtureRequest, postgres_server_url: str, migrated_databases: Callable[[str], str]
) -> Iterator[str]:
    """Give the address of a database for this test that has the service's tables: a start finds nothing to migrate."""
    with fresh_database(postgres_server_url, migrated_databases(request.path.parent.name)) as url:
        yield url
