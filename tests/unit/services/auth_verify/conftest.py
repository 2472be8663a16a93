from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from argon2 import PasswordHasher

from services.auth_verify.adapters import argon2
from services.auth_verify.app import build_app
from services.auth_verify.settings import AuthVerifySettings
from tests.support.serving import ServeApp
from tests.unit.services.auth_verify.api import INTERNAL_SECRET, JWT_SECRET, Api


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords in no time: what one costs matters to who guesses, and to `test_argon2.py`."""
    hasher = PasswordHasher(time_cost=1, memory_cost=16, parallelism=1)
    monkeypatch.setattr(argon2, "PasswordHasher", lambda **_costs: hasher)


@pytest.fixture(params=["embedded", "servers"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> AuthVerifySettings:
    """The two ways to run: on SQLite and memory, and on PostgreSQL and Redis."""
    servers = {}
    if request.param == "servers":
        servers = {
            "database_url": request.getfixturevalue("postgres_url"),
            "redis_url": request.getfixturevalue("redis_url"),
        }
    return AuthVerifySettings(
        _env_file=None, data_dir=tmp_path, jwt_secret_key=JWT_SECRET, internal_secret=INTERNAL_SECRET, **servers
    )


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


@pytest.fixture
async def api(settings: AuthVerifySettings, serve_app: ServeApp, http: aiohttp.ClientSession) -> Api:
    return Api(http, await serve_app(build_app(settings)))
