from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from services.planter_orders.app import build_app
from services.planter_orders.settings import PlanterOrdersSettings
from shared.objects import ObjectStore
from shared.objects.factory import open_object_store
from tests.support.s3 import S3Server
from tests.support.serving import ServeApp
from tests.unit.services.planter_orders.api import INTERNAL_SECRET, JWT_SECRET, Api, token


def server_settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the settings of PostgreSQL, Redis and a bucket of this test's own."""
    bucket: S3Server = request.getfixturevalue("s3")
    return {
        "database_url": request.getfixturevalue("postgres_url"),
        "redis_url": request.getfixturevalue("redis_url"),
        "storage_backend": "s3",
        "s3_bucket": bucket.bucket,
        "s3_endpoint_url": bucket.endpoint_url,
        "aws_region": bucket.region,
        "aws_access_key_id": bucket.access_key,
        "aws_secret_access_key": bucket.secret_key,
    }


@pytest.fixture
def embedded(tmp_path: Path) -> PlanterOrdersSettings:
    """SQLite and the local disk."""
    return PlanterOrdersSettings(
        _env_file=None, data_dir=tmp_path / "var", jwt_secret_key=JWT_SECRET, internal_secret=INTERNAL_SECRET
    )


@pytest.fixture(params=["embedded", "servers"])
def settings(request: pytest.FixtureRequest, embedded: PlanterOrdersSettings) -> PlanterOrdersSettings:
    """The two ways to run: on SQLite and the disk, and on PostgreSQL, Redis and S3."""
    return embedded if request.param == "embedded" else embedded.model_copy(update=server_settings(request))


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


@pytest.fixture
async def api(settings: PlanterOrdersSettings, serve_app: ServeApp, http: aiohttp.ClientSession) -> Api:
    """The service, called by Ann."""
    return Api(http, await serve_app(build_app(settings, decoders=1)), token())


@pytest.fixture
async def local(embedded: PlanterOrdersSettings, serve_app: ServeApp, http: aiohttp.ClientSession) -> Api:
    """The service on SQLite and the disk alone, for what does not depend on them."""
    return Api(http, await serve_app(build_app(embedded, decoders=1)), token())


@pytest.fixture
async def objects(settings: PlanterOrdersSettings) -> AsyncIterator[ObjectStore]:
    """The store the service uses."""
    async with open_object_store(settings) as store:
        yield store


@pytest.fixture(autouse=True)
def _decoders(kept_decoders: None) -> None:
    """Start no decode worker for each test."""
