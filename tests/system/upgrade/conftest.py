"""What the release before left behind, put where this release finds it."""

from __future__ import annotations

import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support.postgres import DRIVER, postgres_program
from tests.support.release_before import FIXTURE, SETTINGS
from tests.support.s3 import RunningS3, S3Server


@dataclass(frozen=True)
class LeftBehind:
    """The settings of a stack that stands on it, and what its customers were promised."""

    settings: dict[str, str]
    promised: dict[str, Any]


def _unpack(name: str, folder: Path) -> None:
    with tarfile.open(FIXTURE / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")


def _promised(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURE / f"{name}.json").read_text())
    return found


def load_dump(database: str) -> None:
    """Read the fixture's dump into an empty database."""
    command: list[str | Path] = [postgres_program("psql"), "-q", "-v", "ON_ERROR_STOP=1", "-f", FIXTURE / "dump.sql"]
    subprocess.run([*command, database.replace(DRIVER, "postgresql://", 1)], check=True, capture_output=True)


@pytest.fixture
def servers_left(tmp_path: Path, postgres_url: str, redis_url: str, s3: S3Server, s3_server: RunningS3) -> LeftBehind:
    """PostgreSQL, Redis and a bucket as that release left them."""
    load_dump(postgres_url)
    with Redis.from_url(redis_url) as redis:
        for key, (value, ttl_ms) in json.loads((FIXTURE / "redis.json").read_text()).items():
            redis.restore(key, ttl_ms, bytes.fromhex(value))
    _unpack("bucket", tmp_path)
    for key, content_type in json.loads((FIXTURE / "bucket.json").read_text()).items():
        body = (tmp_path / "objects" / key).read_bytes()
        s3_server.client.put_object(Bucket=s3.bucket, Key=key, Body=body, ContentType=content_type)
    settings = {
        **SETTINGS, **s3.settings, "DATABASE_URL": postgres_url, "REDIS_URL": redis_url, "JWT_ALGORITHM": "EdDSA",
    }  # fmt: skip
    return LeftBehind(settings, _promised("servers"))


@pytest.fixture
def folder_left(tmp_path: Path) -> LeftBehind:
    """A data folder as that release left it."""
    _unpack("embedded", tmp_path)
    return LeftBehind({**SETTINGS, "DATA_DIR": str(tmp_path / "data")}, _promised("embedded"))
