"""The sandbox's memory: one SQLite file, written in the transaction of each change, so that a killed process loses nothing.

The calls are synchronous: a row takes microseconds, and between two awaits nothing can come between a check and its write.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Object = dict[str, Any]

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS objects (
    sequence INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS objects_by_kind ON objects (kind, sequence);
CREATE INDEX IF NOT EXISTS open_sessions ON objects (json_extract(body, '$.expires_at'))
    WHERE kind = 'checkout.session' AND json_extract(body, '$.status') = 'open';
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, operation TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL,
    request_id TEXT NOT NULL, created REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS deliveries (event_id TEXT PRIMARY KEY, attempts INTEGER NOT NULL, due_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due_at);
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an idempotency key remembers; `operation` is the path with its parameters."""

    operation: str
    status: int
    body: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event that its receiver has not confirmed yet."""

    event: Object
    attempts: int


class Store:
    """Objects by id, in the order in which they came; answers by idempotency key; deliveries that are due."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all writes of the block, or none of them."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def put(self, thing: Object) -> Object:
        """Write an object, new or changed; a changed one keeps its place."""
        self._db.execute(
            "INSERT INTO objects (id, kind, body) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (thing["id"], thing["object"], json.dumps(thing)),
        )
        return thing

    def get(self, identifier: str, kind: str = "") -> Object | None:
        """Return the object of that id, if it is of that kind."""
        query = "SELECT body FROM objects WHERE id = ? AND ? IN ('', kind)"
        row = self._db.execute(query, (identifier, kind)).fetchone()
        return json.loads(row[0]) if row else None

    def select(
        self,
        kind: str,
        *,
        limit: int = 100,
        after: str | None = None,
        payment_intent: str | None = None,
        created_since: int = 0,
        event_type: str | None = None,
    ) -> list[Object]:
        """Return up to `limit` objects, newest first; `after` is the id of the last one seen, None for the first page."""
        query = (
            "SELECT body FROM objects WHERE kind = :kind"
            " AND (:after IS NULL OR sequence < (SELECT sequence FROM objects WHERE id = :after))"
            " AND (:intent IS NULL OR json_extract(body, '$.payment_intent') = :intent)"
            " AND (:type IS NULL OR json_extract(body, '$.type') = :type)"
            " AND (:since = 0 OR json_extract(body, '$.created') >= :since) ORDER BY sequence DESC LIMIT :limit"
        )
        values = {
            "kind": kind,
            "after": after,
            "intent": payment_intent,
            "type": event_type,
            "since": created_since,
            "limit": limit,
        }
        return [json.loads(body) for (body,) in self._db.execute(query, values)]

    def overdue_sessions(self, now_s: float) -> list[Object]:
        query = (
            "SELECT body FROM objects WHERE kind = 'checkout.session' AND json_extract(body, '$.status') = 'open'"
            " AND json_extract(body, '$.expires_at') <= ?"
        )
        return [json.loads(body) for (body,) in self._db.execute(query, (now_s,))]

    def remember(self, key: str, answer: Answer, now_s: float) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)",
            (key, answer.operation, answer.status, answer.body, answer.request_id, now_s),
        )

    def remembered(self, key: str, not_before_s: float) -> Answer | None:
        """Return the answer of an idempotency key, unless it is too old."""
        self._db.execute("DELETE FROM answers WHERE created < ?", (not_before_s,))
        query = "SELECT operation, status, body, request_id FROM answers WHERE key = ?"
        row = self._db.execute(query, (key,)).fetchone()
        return Answer(*row) if row else None

    def schedule(self, event_id: str, attempts: int, due_at_s: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?)", (event_id, attempts, due_at_s))

    def unschedule(self, event_id: str) -> None:
        self._db.execute("DELETE FROM deliveries WHERE event_id = ?", (event_id,))

    def due(self, now_s: float, limit: int) -> list[Delivery]:
        """Return the deliveries whose time has come, the longest due first."""
        query = (
            "SELECT body, attempts FROM deliveries JOIN objects ON id = event_id WHERE due_at <= ?"
            " ORDER BY due_at, sequence LIMIT ?"
        )
        return [Delivery(json.loads(body), attempts) for body, attempts in self._db.execute(query, (now_s, limit))]
