from __future__ import annotations

import asyncpg
import pytest
from redis import asyncio as aioredis

from tests.support.s3 import S3Server


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_begins_with_an_empty_redis(redis_url: str, turn: int) -> None:
    async with aioredis.from_url(redis_url) as client:
        assert await client.set("left", "behind", nx=True)


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_begins_with_an_empty_database(postgres_url: str, turn: int) -> None:
    connection = await asyncpg.connect(postgres_url.replace("+asyncpg", "", 1))
    await connection.execute("CREATE TABLE left_behind (id integer)")
    await connection.close()


def test_a_test_without_a_loop_gets_a_database_too(postgres_url: str) -> None:
    assert postgres_url.startswith("postgresql+asyncpg://")


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_begins_with_an_empty_bucket(s3: S3Server, turn: int) -> None:
    assert s3.endpoint_url.startswith("http://127.0.0.1:")
