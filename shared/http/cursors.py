"""Cursors of lists, newest first: what a client carries from one page to the next, and makes nothing of."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared.errors import NotAllowedValue

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CURSOR = re.compile(r"([0-9]{1,17})\.([A-Za-z0-9_-]{1,64})")


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ends: the time (UTC) and the id of its last row; the id decides between rows of one microsecond."""

    at: datetime
    id: str

    def cursor(self) -> str:
        """Write it as clients carry it."""
        text = f"{(self.at - EPOCH) // timedelta(microseconds=1)}.{self.id}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def parse_cursor(text: str) -> Position:
    """Read what `Position.cursor` wrote. Raises NotAllowedValue."""
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        found = CURSOR.fullmatch(base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii"))
        if found is not None:
            return Position(EPOCH + timedelta(microseconds=int(found[1])), found[2])
    except (ValueError, OverflowError):
        pass
    raise NotAllowedValue.of("cursor", "cursor: take it from the last answer's next_cursor.", "invalid_cursor")
