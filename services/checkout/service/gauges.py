"""What a person is to look at, and what waits, as metrics: read from the database, so that each process says the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta

from services.checkout.adapters.sql.sessions import SqlSessions
from services.checkout.metrics import IN_REVIEW, OVERDUE

LATE = timedelta(minutes=5)


async def refresh_gauges(sessions: SqlSessions, now: Callable[[], datetime]) -> None:
    """Count by indexes that hold what is looked for alone; where nothing can be counted, say so."""
    in_review = overdue = math.nan
    try:
        in_review, overdue = await sessions.attention(now() - LATE)
    finally:
        IN_REVIEW.set(in_review)
        OVERDUE.set(overdue)
