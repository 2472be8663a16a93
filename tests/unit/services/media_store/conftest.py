from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.media_store.settings import MediaStoreSettings
from tests.unit.services.media_store.store import Store, open_store, settings_of


def _in_bucket(request: pytest.FixtureRequest, backend: str) -> dict[str, str]:
    s3 = request.getfixturevalue("s3")
    names = {
        "s3": ("s3_bucket", "aws_access_key_id", "aws_secret_access_key"),
        "r2": ("r2_bucket_name", "r2_access_key_id", "r2_secret_access_key"),
    }[backend]
    keys = dict(zip(names, (s3.bucket, s3.access_key, s3.secret_key), strict=True))
    return {"storage_backend": backend, "s3_endpoint_url": s3.endpoint_url, "aws_region": s3.region, **keys}


@pytest.fixture(params=["local-sqlite", "s3-postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> MediaStoreSettings:
    """The two ways to run: all on this machine's disk, and on S3 and PostgreSQL."""
    if request.param == "local-sqlite":
        return settings_of(tmp_path)
    return settings_of(tmp_path, database_url=request.getfixturevalue("postgres_url"), **_in_bucket(request, "s3"))


@pytest.fixture
async def s3_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(settings_of(tmp_path, **_in_bucket(request, "s3"))) as running:
        yield running


@pytest.fixture
def r2_settings(request: pytest.FixtureRequest, tmp_path: Path) -> MediaStoreSettings:
    return settings_of(tmp_path, **_in_bucket(request, "r2"))


@pytest.fixture
async def store(settings: MediaStoreSettings) -> AsyncIterator[Store]:
    async with open_store(settings) as running:
        yield running


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Store]:
    """The service on disk and SQLite, for what does not depend on the backend."""
    async with open_store(settings_of(tmp_path)) as running:
        yield running


@pytest.fixture(autouse=True)
def _decoders(kept_decoders: None) -> None:
    """Start no decode worker for each test."""
