"""What the Python references do with an image so that nothing they answered is lost: decode it, sync it, enter it.

`PROMISES=none` leaves all of that out but the file.
"""

from __future__ import annotations

import io
import os
import secrets
import sqlite3
import threading
import time
from pathlib import Path

from PIL import Image

FOLDER = Path(os.environ["UPLOADS"])
PROMISES = os.environ.get("PROMISES") != "none"
_threads = threading.local()


def prepare() -> None:
    """Make the folder and the table; several processes may do so at once."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with _database() as database:
        database.execute("CREATE TABLE IF NOT EXISTS images (key TEXT PRIMARY KEY, session TEXT, size INT, made REAL)")


def keep(data: bytes, session: str) -> dict[str, object]:
    """Keep a JPEG; return the answer. Raises OSError for one that cannot be decoded whole."""
    key = f"{secrets.token_hex(16)}.jpg"
    if not PROMISES:
        (FOLDER / key).write_bytes(data)
        return {"success": True, "key": key}
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
    with (FOLDER / key).open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(FOLDER, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    with _database() as database:  # commits
        database.execute("INSERT INTO images VALUES (?, ?, ?, ?)", (key, session, len(data), time.time()))
    return {"success": True, "key": key, "width": picture.width, "height": picture.height}


def _database() -> sqlite3.Connection:
    """Return this thread's connection, with our own settings of it: write-ahead, and each commit on the disk."""
    if not hasattr(_threads, "database"):
        _threads.database = sqlite3.connect(FOLDER.with_suffix(".db"), timeout=60)
        _threads.database.execute("PRAGMA journal_mode=WAL")
        _threads.database.execute("PRAGMA synchronous=FULL")
    connection: sqlite3.Connection = _threads.database
    return connection
