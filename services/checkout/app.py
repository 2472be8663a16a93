"""The composition of checkout: its database, Stripe, the other services, durable storage, and the sweeper."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from aiohttp import web

from services.checkout.adapters.http import HttpOrders, HttpTempImages
from services.checkout.adapters.sql.order_updates import SqlOrderUpdates
from services.checkout.adapters.sql.refunds import SqlRefunds
from services.checkout.adapters.sql.resolutions import SqlResolutions
from services.checkout.adapters.sql.sessions import SqlEvents, SqlSessions
from services.checkout.adapters.sql.tables import IDEMPOTENCY_KEYS
from services.checkout.adapters.stripe import StripePayments, open_payments
from services.checkout.adapters.toml import read_catalogue
from services.checkout.handlers import ROUTES
from services.checkout.handlers.app_keys import CATALOGUE, IDEMPOTENCY, OBJECTS, SERVICE, SETTINGS
from services.checkout.model.payments import Action
from services.checkout.schemas import SessionRequest, request_of
from services.checkout.service import CheckoutService
from services.checkout.service.fulfilment import Fulfilment
from services.checkout.service.gauges import refresh_gauges
from services.checkout.service.outbox import Outbox
from services.checkout.service.paid_images import PaidImages
from services.checkout.service.queries import Queries
from services.checkout.service.reconcile import Reconciliation
from services.checkout.service.refunds import Refunds
from services.checkout.service.review import Review
from services.checkout.service.session_opener import SessionOpener
from services.checkout.service.sweeper import Sweeper
from services.checkout.service.webhooks import Webhooks
from services.checkout.settings import CheckoutSettings
from shared.app.erasure import ERASER
from shared.app.factory import base_app
from shared.app.idempotency import IdempotencyKeys
from shared.app.middleware import CHECKS
from shared.app.routes import ServiceInfo
from shared.auth.access_tokens import SERVICE_GUARD, VERIFIER, ServiceGuard
from shared.auth.jwks import open_verifier
from shared.auth.service_client import ServiceClient, open_http_client
from shared.clock import utc_now
from shared.concurrency.periodic import work_periodically, working
from shared.images.decode_pool import ImageWorkers, open_image_workers
from shared.images.validation import image_limits
from shared.log import get_logger
from shared.objects import ObjectStore
from shared.objects.factory import open_object_store
from shared.persistence.engine import Database, open_database
from shared.persistence.migrations import migrate

NAME = "checkout"
GAUGES_S = 10.0
MIGRATIONS = Path(__file__).with_name("migrations")
INFO = ServiceInfo(NAME, "Stripe embedded checkout that never loses a paid photo.", NAME)


def build_service(
    settings: CheckoutSettings,
    *,
    sessions: SqlSessions,
    order_updates: SqlOrderUpdates,
    events: SqlEvents,
    refunds: SqlRefunds,
    payments: StripePayments,
    images: HttpTempImages,
    orders: HttpOrders,
    objects: ObjectStore,
    workers: ImageWorkers,
    resolutions: SqlResolutions,
    keys: IdempotencyKeys,
    now: Callable[[], datetime] = utc_now,
) -> CheckoutService:
    """Wire the use cases to what they need."""
    wake = asyncio.Event()
    paid_images = PaidImages(objects, workers, image_limits(settings))
    fulfilment = Fulfilment(sessions, payments, images, paid_images, now, wake.set)
    outbox = Outbox(sessions, order_updates, orders, payments, fulfilment, now)
    ttl_s, site = settings.checkout_session_ttl_s, settings.public_url
    opener = SessionOpener(sessions, payments, images, orders, fulfilment, outbox, ttl_s, now, wake.set)
    webhooks = Webhooks(sessions, events, refunds, payments, fulfilment, opener, site, now)
    refunding = Refunds(sessions, refunds, payments, fulfilment, now, wake.set)
    return CheckoutService(
        opener=opener,
        queries=Queries(fulfilment, now),
        webhooks=webhooks,
        refunds=refunding,
        review=Review(sessions, resolutions, refunding, fulfilment, outbox, orders, images, now, wake.set),
        fulfilment=fulfilment,
        reconciliation=Reconciliation(sessions, payments, objects, site),
        sweeper=Sweeper(sessions, events, images, fulfilment, outbox, webhooks, keys.forget_old, wake, now),
    )


@dataclass(frozen=True, slots=True)
class Opened:
    """The use cases, and what else the app shows of the resources they stand on."""

    service: CheckoutService
    database: Database
    objects: ObjectStore
    keys: IdempotencyKeys
    sessions: SqlSessions


@asynccontextmanager
async def open_service(settings: CheckoutSettings, now: Callable[[], datetime] = utc_now) -> AsyncIterator[Opened]:
    """Open all that the use cases need; at the end, what is under way finishes."""
    async with (
        open_database(settings.database_url, settings.data_dir, NAME) as database,
        open_object_store(settings) as objects,
        open_payments(settings) as payments,
        open_http_client() as http,
        open_image_workers(processes=1) as workers,
    ):
        await migrate(database, MIGRATIONS, NAME, settings.data_dir)
        client = partial(ServiceClient, http, caller=NAME, secret=settings.internal_secret)
        keys = IdempotencyKeys(database, IDEMPOTENCY_KEYS, now)
        sessions = SqlSessions(database)
        service = build_service(
            settings,
            sessions=sessions,
            order_updates=SqlOrderUpdates(database),
            events=SqlEvents(database),
            refunds=SqlRefunds(database),
            payments=payments,
            images=HttpTempImages(client(settings.temp_image_url, name="temp-image")),
            orders=HttpOrders(client(settings.planter_orders_url, name="planter-orders")),
            objects=objects,
            workers=workers,
            resolutions=SqlResolutions(database),
            keys=keys,
            now=now,
        )
        try:
            yield Opened(service, database, objects, keys, sessions)
        finally:
            await service.opener.close()
            await service.fulfilment.close()


async def reconcile(settings: CheckoutSettings, tell: Callable[[str], None]) -> int:
    """Tell what does not fit together, one sentence each, and return how many."""
    count = 0
    async with open_service(settings) as opened:
        async for finding in opened.service.reconciliation.findings(utc_now()):
            tell(finding)
            count += 1
    return count


async def resolve(settings: CheckoutSettings, session_id: str, action: Action, *, note: str, by: str) -> None:
    """Decide about a payment that needs review, as `Review.resolve` does."""
    async with open_service(settings) as opened:
        await opened.service.review.resolve(session_id, action, note=note, by=by)


def build_app(settings: CheckoutSettings, now: Callable[[], datetime] = utc_now) -> web.Application:
    """Build the app. Raises CatalogueInvalid."""
    catalogue = read_catalogue(settings.catalogue_file)
    request = request_of(catalogue)
    routes = (replace(route, body=request) if route.body is SessionRequest else route for route in ROUTES)
    app = base_app(INFO, settings, routes)
    app[CATALOGUE] = catalogue
    app[SERVICE_GUARD] = ServiceGuard(settings.internal_secret, NAME)
    app[SETTINGS] = settings

    async def resources(app: web.Application) -> AsyncIterator[None]:
        async with open_verifier(settings, settings.redis_url) as verifier, open_service(settings, now) as opened:
            app[VERIFIER], app[OBJECTS], app[IDEMPOTENCY] = verifier, opened.objects, opened.keys
            app[SERVICE], app[ERASER] = opened.service, opened.sessions
            app[CHECKS].update(database=opened.database.check, storage=opened.objects.check)
            if settings.uses_sandbox:
                get_logger().warning("stripe_sandbox_used")
            refresh = partial(refresh_gauges, opened.sessions, now)
            gauges = partial(work_periodically, "gauges", refresh, GAUGES_S)
            async with working(opened.service.sweeper.run, gauges):
                yield

    app.cleanup_ctx.append(resources)
    return app
