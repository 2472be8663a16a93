"""Time as the contract writes it: aware UTC datetimes, RFC 3339 with a `Z`."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

utc_now = partial(datetime.now, UTC)


def rfc3339(moment: datetime) -> str:
    """Write an aware datetime as RFC 3339 in UTC, ending in `Z`; microseconds only where there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
