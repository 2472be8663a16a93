from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.unit.services.checkout.shop import Shop, open_shop

StartShop = Callable[..., Awaitable[Shop]]


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    return "" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def start_shop(tmp_path: Path) -> AsyncIterator[StartShop]:
    async with AsyncExitStack() as stack:

        async def start(database_url: str = "", **options: Any) -> Shop:
            return await stack.enter_async_context(open_shop(tmp_path, database_url, **options))

        yield start


@pytest.fixture
async def shop(start_shop: StartShop, database_url: str) -> Shop:
    return await start_shop(database_url)
