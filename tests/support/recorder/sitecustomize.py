"""Writes each different SQL statement of this process, with its first values, to the file that RECORD_STATEMENTS names.

Python imports it by itself where its folder is on PYTHONPATH: thus the release before is recorded, and nothing of it changed.
"""

import json
import os
from datetime import datetime
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.engine import Engine

SEEN: set[str] = set()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return {"time": value.isoformat()}
    return {"bytes": value.hex()} if isinstance(value, bytes) else value


@event.listens_for(Engine, "before_cursor_execute")
def _record(_connection, _cursor, statement, parameters, _context, executemany):
    words = statement.split()[:3]
    if statement in SEEN or words[0] not in {"SELECT", "INSERT", "UPDATE", "DELETE"} or "alembic_version" in statement:
        return
    SEEN.add(statement)
    values = parameters[0] if executemany else parameters
    with Path(os.environ["RECORD_STATEMENTS"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps([statement, [_plain(value) for value in values]]) + "\n")
