from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.errors import NotAllowedValue
from shared.http.cursors import Position, parse_cursor

IDS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
MOMENTS = st.integers(0, 10**16).map(lambda micros: datetime.fromtimestamp(micros // 10**6, UTC))


@given(MOMENTS, IDS)
def test_a_cursor_that_was_written_is_read(at: datetime, identifier: str) -> None:
    assert parse_cursor(Position(at, identifier).cursor()) == Position(at, identifier)


@given(st.text())
@example("A" * 1000)
@example("OTk5OTk5OTk5OTk5OTk5OTkuMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA")
def test_anything_is_a_position_or_refused(text: str) -> None:
    try:
        position = parse_cursor(text)
    except NotAllowedValue:
        return
    assert position.at.tzinfo is UTC


@pytest.mark.parametrize("text", ["", "x", "é", "AAAA", "OTk5OTk5OTk5OTk5OTk5OTk5OTkuYQ", "MS5h?", "MS4"])
def test_what_was_never_written_is_refused(text: str) -> None:
    with pytest.raises(NotAllowedValue):
        parse_cursor(text)
