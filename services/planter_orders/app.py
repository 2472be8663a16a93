"""The composition of planter-orders: its database, its store, checkout, and what goes on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, nullcontext
from datetime import datetime
from functools import partial
from pathlib import Path

import aiohttp
from aiohttp import web
from cachetools import TTLCache
from redis import asyncio as aioredis

from services.planter_orders.adapters.http import Payments, WebhookReceiver
from services.planter_orders.adapters.notifications import (
    NoNotifications,
    Notifications,
    PostgresNotifications,
    RedisNotifications,
)
from services.planter_orders.adapters.sql.changes import Outbox
from services.planter_orders.adapters.sql.erasures import Erasures
from services.planter_orders.adapters.sql.jobs import Orphans, PendingJobs
from services.planter_orders.adapters.sql.orders import OrderRepository
from services.planter_orders.adapters.sql.photos import PhotoRepository
from services.planter_orders.adapters.sql.release_before import catch_up
from services.planter_orders.adapters.sql.tables import IDEMPOTENCY_KEYS
from services.planter_orders.handlers import ROUTES
from services.planter_orders.handlers.app_keys import (
    DELIVERIES,
    IDEMPOTENCY,
    OBJECTS,
    ORDER_EVENTS,
    ORDERS,
    RENDERER,
    SETTINGS,
    UPLOADING,
)
from services.planter_orders.model.deliveries import signing_key
from services.planter_orders.schemas.answers import OrderRenderer
from services.planter_orders.service.announcements import Deliveries, OrderEvents, WebhookSender
from services.planter_orders.service.derived_files import MetadataFiles, PhotoLooks, Thumbnails
from services.planter_orders.service.gauges import refresh_gauges
from services.planter_orders.service.orders import OrderService, PersonEraser
from services.planter_orders.service.uploading import OrphanCleanup, Uploading
from services.planter_orders.settings import PlanterOrdersSettings
from shared.app.erasure import ERASER
from shared.app.factory import base_app
from shared.app.idempotency import IdempotencyKeys
from shared.app.middleware import CHECKS
from shared.app.routes import ServiceInfo
from shared.auth.access_tokens import SERVICE_GUARD, VERIFIER, ServiceGuard
from shared.auth.jwks import open_verifier
from shared.auth.service_client import ServiceClient, open_http_client
from shared.auth.signed_links import SIGNED_LINKS, SignedLinks
from shared.clock import utc_now
from shared.concurrency.periodic import Work, work_periodically, working
from shared.images.decode_pool import ImageWorkers, open_image_workers
from shared.images.validation import ImageFormat, image_limits
from shared.objects import ObjectStore
from shared.objects.factory import open_object_store
from shared.persistence.engine import Database, open_database
from shared.persistence.migrations import migrate
from shared.persistence.redis import open_redis

NAME = "planter-orders"
INFO = ServiceInfo(NAME, "Upload pet images for custom planter generation", "Pet Planter Image Upload Service")
MIGRATIONS = Path(__file__).with_name("migrations")
WAITING_CHECKS = 512  # a wave of uploads waits for the decoders, and is not refused
FORGET_S = 600.0
ERASURES_S = 60.0
CATCH_UP_S = 60.0
MOST_LOOKS, LOOKS_S = 256, 60.0  # some 20 KB each; what goes is found out again
GAUGES_S = 10.0


def _notifications(database: Database, redis: aioredis.Redis | None) -> Notifications:
    if database.is_postgres:
        return PostgresNotifications(database)
    return NoNotifications() if redis is None else RedisNotifications(redis)


def _assemble(
    app: web.Application,
    settings: PlanterOrdersSettings,
    *,
    database: Database,
    objects: ObjectStore,
    workers: ImageWorkers,
    http: aiohttp.ClientSession,
    notifications: Notifications,
    now: Callable[[], datetime],
) -> list[Work]:
    """Wire the use cases to what they need; return what goes on by itself."""
    renderer = OrderRenderer(app[SIGNED_LINKS], settings.public_url)
    photos_due, webhooks_due = asyncio.Event(), asyncio.Event()

    def wake() -> None:
        photos_due.set()
        webhooks_due.set()

    with_webhooks = bool(settings.order_webhook_url)
    orders = OrderRepository(database, with_webhooks=with_webhooks)
    photos = PhotoRepository(database, with_webhooks=with_webhooks)
    jobs, orphans = PendingJobs(database), Orphans(database)
    metadata_files = MetadataFiles(orders, jobs, objects, renderer.metadata_file, now)
    cleanup = OrphanCleanup(orphans, objects, now)
    order_events = OrderEvents(orders, notifications, wake)
    looks: PhotoLooks = TTLCache(MOST_LOOKS, LOOKS_S)
    thumbnails = Thumbnails(jobs, objects, workers, metadata_files, order_events, now, looks, photos_due)
    keys = IdempotencyKeys(database, IDEMPOTENCY_KEYS, now)
    client = ServiceClient(http, settings.checkout_url, name="checkout", caller=NAME, secret=settings.internal_secret)
    payments, limits = Payments(client), image_limits(settings, without={ImageFormat.GIF})
    service = OrderService(orders, photos, payments, objects, cleanup, metadata_files, order_events, now)
    app[UPLOADING] = Uploading(
        orders, photos, orphans, objects, workers, limits, cleanup, metadata_files, order_events, wake, now, looks
    )
    eraser = PersonEraser(orders, service, Erasures(database), objects, cleanup, now)
    app[RENDERER], app[OBJECTS], app[IDEMPOTENCY] = renderer, objects, keys
    app[ORDERS], app[ORDER_EVENTS] = service, order_events
    app[ERASER] = eraser
    background: list[Work] = [metadata_files.run, cleanup.run, thumbnails.run, order_events.run]
    background.append(lambda: work_periodically("erasures", eraser.sweep, ERASURES_S))
    background.append(lambda: work_periodically("release_before", lambda: catch_up(database, now()), CATCH_UP_S))
    background.append(lambda: work_periodically("keys", keys.forget_old, FORGET_S))
    background.append(lambda: work_periodically("gauges", partial(refresh_gauges, orders), GAUGES_S))
    outbox, sender = Outbox(database), None
    if settings.order_webhook_url:
        receiver = WebhookReceiver(http, settings.order_webhook_url)
        secrets = [signing_key(secret) for secret in settings.order_webhook_secret]
        sender = WebhookSender(outbox, receiver, secrets, now, webhooks_due)
        background.append(sender.run)
    app[DELIVERIES] = deliveries = Deliveries(outbox, sender, now)
    background.append(lambda: work_periodically("deliveries", deliveries.forget_old, FORGET_S))
    return background


def build_app(
    settings: PlanterOrdersSettings, now: Callable[[], datetime] = utc_now, *, decoders: int = 2
) -> web.Application:
    """Build the app; its resources open when it starts. `decoders` processes decode images, once there are any."""
    app = base_app(INFO, settings, ROUTES)
    app[SETTINGS] = settings
    app[SIGNED_LINKS] = SignedLinks(settings.internal_secret, settings.public_url)
    app[SERVICE_GUARD] = ServiceGuard(settings.internal_secret, NAME)

    async def resources(app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(open_database(settings.database_url, settings.data_dir, NAME))
            await migrate(database, MIGRATIONS, NAME, settings.data_dir)
            redis = await stack.enter_async_context(
                open_redis(settings.redis_url) if settings.redis_url else nullcontext()
            )
            app[VERIFIER] = await stack.enter_async_context(open_verifier(settings, settings.redis_url))
            objects = await stack.enter_async_context(open_object_store(settings))
            workers = await stack.enter_async_context(
                open_image_workers(processes=decoders, queue_limit=WAITING_CHECKS)
            )
            http = await stack.enter_async_context(open_http_client())
            app[CHECKS].update(database=database.check, storage=objects.check)
            background = _assemble(
                app,
                settings,
                database=database,
                objects=objects,
                workers=workers,
                http=http,
                notifications=_notifications(database, redis),
                now=now,
            )
            await stack.enter_async_context(working(*background))
            yield

    app.cleanup_ctx.append(resources)
    return app
