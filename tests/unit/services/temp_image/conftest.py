from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.services.temp_image.stores import Stores, open_disk_stores, open_redis_stores


@pytest.fixture(params=["disk", "redis"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    if request.param == "disk":
        async with open_disk_stores(tmp_path / "images") as opened:
            yield opened
    else:
        async with open_redis_stores(request.getfixturevalue("redis_url")) as opened:
            yield opened
