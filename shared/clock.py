"""Time as the contract writes it: aware UTC datetimes, RFC 3339 with a `Z`; and as HTTP does."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache, partial

utc_now = partial(datetime.now, UTC)


def rfc3339(moment: datetime) -> str:
    """Write an aware datetime as RFC 3339 in UTC, ending in `Z`; microseconds only where there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def http_date() -> str:
    """Write the present moment as `Date` has it (RFC 9110 section 5.6.7)."""
    return _http_date(int(time.time()))


@lru_cache(maxsize=1)
def _http_date(now_s: int) -> str:
    return formatdate(now_s, usegmt=True)
