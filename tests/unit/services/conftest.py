from __future__ import annotations

import pytest

from shared.persistence import engine

LIMITS = ("TURN_S", "POOL_TIMEOUT_S", "CONNECT_TIMEOUT_S", "STATEMENT_TIMEOUT_S")


@pytest.fixture(autouse=True)
def _patient_databases(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fifty at once wait for each other, however busy the machine is; tests of faults keep the limits of customers."""
    for limit in LIMITS if request.path.name != "test_faults.py" else LIMITS[:1]:
        monkeypatch.setattr(engine, limit, 30.0)
