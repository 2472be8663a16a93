"""How the services are: asked at once and together, remembered for a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from gateway.admission import CLIENTS
from gateway.upstream.exchange import Pool, fetch
from shared.app.middleware import LIFECYCLE
from shared.clock import rfc3339, utc_now
from shared.errors import Unavailable

REMEMBERED_S = 1.0


class Health:
    """The state of every service, true a second ago."""

    def __init__(self, pools: Mapping[str, Pool]) -> None:
        self._pools = pools
        self._known: dict[str, bool] = {}
        self._known_at = float("-inf")
        self._lock = asyncio.Lock()

    async def services(self) -> Mapping[str, bool]:
        async with self._lock:
            if time.monotonic() - self._known_at > REMEMBERED_S:
                answers = await asyncio.gather(*(fetch(pool, b"/health") for pool in self._pools.values()))
                self._known = {name: page is not None for name, page in zip(self._pools, answers, strict=True)}
                self._known_at = time.monotonic()
        return self._known


HEALTH: Final = web.AppKey("HEALTH", Health)


async def health(request: web.Request) -> web.Response:
    """Answer 200 while the gateway lives, with the state of each service."""
    services = await request.app[HEALTH].services()
    return web.json_response(
        {
            "status": "healthy" if all(services.values()) else "degraded",
            "timestamp": rfc3339(utc_now()),
            "services": {name: {"status": "healthy" if fine else "unhealthy"} for name, fine in services.items()},
            **({"seen": seen} if (seen := request.app[CLIENTS].seen_by_doctor(request)) else {}),
        }
    )


async def ready(request: web.Request) -> web.Response:
    """Answer 503 when the gateway is stopping or no service answers."""
    if request.app[LIFECYCLE].stopping.is_set():
        raise Unavailable("The gateway is stopping.", code="service_stopping")
    if not any((await request.app[HEALTH].services()).values()):
        raise Unavailable("No service answers.", code="no_service_available")
    return web.json_response({"status": "ready", "timestamp": rfc3339(utc_now())})
