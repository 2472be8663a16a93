from __future__ import annotations

import aiohttp

from shared.app.factory import base_app
from shared.app.routes import ServiceInfo
from shared.settings import ServerSettings
from tests.support.serving import ServeApp


async def test_an_app_answers_at_the_address_given(serve_app: ServeApp) -> None:
    url = await serve_app(base_app(ServiceInfo("probe", "A probe"), ServerSettings(), ()))
    async with aiohttp.ClientSession() as client, client.get(f"{url}/health") as answer:
        assert answer.status == 200
        assert (await answer.json())["status"] == "healthy"
