from __future__ import annotations

import pytest

from shared.persistence import engine


@pytest.fixture(autouse=True)
def _patient_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fifty writers at once wait for each other, however busy the machine is."""
    monkeypatch.setattr(engine, "TURN_S", 30.0)
