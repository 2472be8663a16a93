"""The composition of temp-image: its store, on disk or in Redis, and the app around it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

from aiohttp import web

from services.temp_image.adapters.disk import DiskUploadKeys, open_disk_store
from services.temp_image.handlers import IMAGE_FIELD, ROUTES, SERVICE
from services.temp_image.ports import ImageStore, UploadKeys
from services.temp_image.service import TempImageService
from services.temp_image.settings import TempImageSettings
from shared.app.factory import base_app
from shared.app.middleware import CHECKS
from shared.app.routes import ServiceInfo
from shared.auth.access_tokens import SERVICE_GUARD, ServiceGuard
from shared.images.validation import image_limits
from shared.uploads import FileField

INFO = ServiceInfo(
    "temp-image", "Images that outlive a payment redirect: kept for an hour, handed back exactly once.", "temp-image"
)


def build_app(settings: TempImageSettings, clock: Callable[[], float] = time.time) -> web.Application:
    """Build the app; `clock` tells Unix seconds, for the disk store's expiry as for the answers."""
    app = base_app(INFO, settings, ROUTES)
    app[SERVICE_GUARD] = ServiceGuard(settings.internal_secret, "temp-image")
    app[IMAGE_FIELD] = FileField("image", settings.temp_image_max_size)

    async def resources(app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            store: ImageStore[Any]
            keys: UploadKeys
            if settings.redis_url:
                from services.temp_image.adapters.redis import open_redis_store  # noqa: PLC0415 - only where it is used

                store = redis = await stack.enter_async_context(open_redis_store(settings.redis_url))
                keys = redis.upload_keys
                app[CHECKS]["redis"] = store.check
            else:
                store = await stack.enter_async_context(open_disk_store(settings.images_dir, clock))
                keys = DiskUploadKeys(settings.images_dir, clock)
                app[CHECKS]["storage"] = store.check
            app[SERVICE] = TempImageService(
                store,
                keys,
                settings.internal_secret,
                limits=image_limits(settings),
                ttl_s=settings.temp_image_ttl_s,
                clock=clock,
            )
            stack.push_async_callback(app[SERVICE].close)
            yield

    app.cleanup_ctx.append(resources)
    return app
