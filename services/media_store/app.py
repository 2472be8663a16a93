"""The composition of media-store: its object store, its rows, its workers, and the app around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from aiohttp import web

from services.media_store.adapters.cloudinary import Cloudinary, open_cloudinary
from services.media_store.adapters.http import HttpMembers
from services.media_store.adapters.sql.images import SqlImages
from services.media_store.adapters.sql.tables import IDEMPOTENCY_KEYS
from services.media_store.handlers import ROUTES
from services.media_store.handlers.app_keys import (
    IDEMPOTENCY,
    IMAGES,
    INGEST,
    OBJECTS,
    PROBE,
    PUBLIC_ADDRESSES,
    RENDITIONS,
    SETTINGS,
    UPLOADS,
)
from services.media_store.model.cloudinary import parse_account
from services.media_store.model.images import PublicAddresses
from services.media_store.service.erasure import PersonEraser
from services.media_store.service.images import ImageService
from services.media_store.service.ingest import Ingest
from services.media_store.service.maintenance import Maintenance
from services.media_store.service.organizations import OrganizationUploads, SigningBucket
from services.media_store.service.renditions import Renditions
from services.media_store.service.storage_probe import StorageProbe
from services.media_store.settings import MediaStoreSettings
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
from shared.concurrency.periodic import work_periodically, working
from shared.images.decode_pool import open_image_workers
from shared.images.validation import image_limits
from shared.objects import ObjectStore
from shared.objects.factory import open_object_store
from shared.persistence.engine import open_database
from shared.persistence.migrations import migrate
from shared.presign.signing import local_bucket
from shared.settings import Bucket

NAME = "media-store"
INFO = ServiceInfo(NAME, "Images kept for good: of sessions, users and organizations, on disk, in S3 or in R2.", NAME)
MIGRATIONS = Path(__file__).with_name("migrations")
QUEUE_LIMIT = 64
FORGET_KEYS_S = 3600.0


@dataclass(frozen=True, slots=True)
class Store:
    """What the app and the commands alike stand on."""

    images: SqlImages
    objects: ObjectStore
    ingest: Ingest
    renditions: Renditions
    service: ImageService
    maintenance: Maintenance
    cloudinary: Cloudinary | None
    keys: IdempotencyKeys


def _seconds(ttl_s: int | None) -> timedelta | None:
    return None if ttl_s is None else timedelta(seconds=ttl_s)


async def _open_cloudinary(settings: MediaStoreSettings, stack: AsyncExitStack, spool: Path) -> Cloudinary | None:
    """Open it where there is an account, also when nothing new goes there: what is there can still be deleted."""
    if not settings.cloudinary_url:
        return None
    base_url, account = settings.cloudinary_api_base.rstrip("/"), parse_account(settings.cloudinary_url)
    return await stack.enter_async_context(open_cloudinary(base_url, account, spool))


@asynccontextmanager
async def open_store(settings: MediaStoreSettings, clock: Callable[[], datetime] = utc_now) -> AsyncIterator[Store]:
    """Open the object store, the database and the workers, the tables brought up to date."""
    limits = image_limits(settings)
    async with AsyncExitStack() as stack:
        objects = await stack.enter_async_context(open_object_store(settings))
        database = await stack.enter_async_context(open_database(settings.database_url, settings.data_dir, NAME))
        await migrate(database, MIGRATIONS, NAME, settings.data_dir)
        workers = await stack.enter_async_context(open_image_workers(queue_limit=QUEUE_LIMIT))
        images = SqlImages(database)
        ingest = Ingest(objects, workers, limits, strip=settings.strip_metadata)
        stack.push_async_callback(ingest.close)
        cloudinary, cloudinary_ingest = await _open_cloudinary(settings, stack, objects.spool), None
        if cloudinary is not None and settings.store_image_to == "cloudinary":
            cloudinary_ingest = Ingest(cloudinary, workers, limits, strip=settings.strip_metadata)
            stack.push_async_callback(cloudinary_ingest.close)
        service = ImageService(
            images,
            objects,
            ingest,
            clock,
            stored_ttl=_seconds(settings.store_image_ttl_s),
            cloudinary=cloudinary,
            cloudinary_ingest=cloudinary_ingest,
        )
        renditions = Renditions(objects, workers, limits, service.is_shown)
        stack.push_async_callback(renditions.close)
        maintenance = Maintenance(
            images,
            objects,
            service,
            clock,
            stored_ttl=_seconds(settings.store_image_ttl_s),
            temp_ttl=_seconds(settings.temp_object_ttl_s),
            cloudinary=cloudinary,
        )
        await maintenance.name_images()
        keys = IdempotencyKeys(database, IDEMPOTENCY_KEYS, clock)
        yield Store(images, objects, ingest, renditions, service, maintenance, cloudinary, keys)


def _signing_buckets(settings: MediaStoreSettings, objects: ObjectStore) -> tuple[SigningBucket, SigningBucket | None]:
    """Return where forms go, and where PUTs go: to the bucket; R2 takes no forms, and the disk neither."""

    async def own() -> Bucket:
        return local_bucket(settings.public_url, settings.internal_secret)

    if settings.storage_backend == "local":
        return own, None
    from shared.objects.s3 import S3ObjectStore  # noqa: PLC0415 - the SDK is imported only where it is used

    if not isinstance(objects, S3ObjectStore):
        raise TypeError
    return (objects.signing_bucket if settings.storage_backend == "s3" else own), objects.signing_bucket


def build_app(settings: MediaStoreSettings, clock: Callable[[], datetime] = utc_now) -> web.Application:
    """Build the app; `clock` tells the aware UTC time of uploads and of what has had its time."""
    app = base_app(INFO, settings, ROUTES)
    app[SETTINGS] = settings
    app[SERVICE_GUARD] = ServiceGuard(settings.internal_secret, NAME)
    app[SIGNED_LINKS] = links = SignedLinks(settings.internal_secret, settings.public_url)
    app[PUBLIC_ADDRESSES] = PublicAddresses(
        settings.public_url, settings.public_base_url, settings.media_public_read, links
    )

    async def resources(app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app[VERIFIER] = await stack.enter_async_context(open_verifier(settings, settings.redis_url))
            session = await stack.enter_async_context(open_http_client())
            store = await stack.enter_async_context(open_store(settings, clock))
            auth_verify = ServiceClient(
                session, settings.auth_service_url, name="auth-verify", caller=NAME, secret=settings.internal_secret
            )
            form_bucket, put_bucket = _signing_buckets(settings, store.objects)
            app[OBJECTS], app[INGEST], app[IMAGES], app[IDEMPOTENCY] = (
                store.objects,
                store.ingest,
                store.service,
                store.keys,
            )
            app[RENDITIONS], app[PROBE] = store.renditions, StorageProbe(store.objects)
            app[ERASER] = PersonEraser(store.images, store.service)
            app[UPLOADS] = OrganizationUploads(
                store.images,
                HttpMembers(auth_verify),
                store.objects,
                store.ingest,
                clock,
                form_bucket=form_bucket,
                put_bucket=put_bucket,
                max_bytes=settings.max_upload_size,
            )
            app[CHECKS].update(database=store.images.check, storage=store.objects.check)
            if store.cloudinary is not None and settings.store_image_to == "cloudinary":
                app[CHECKS]["cloudinary"] = store.cloudinary.check
            forgetting = partial(work_periodically, "idempotency_keys", store.keys.forget_old, FORGET_KEYS_S)
            await stack.enter_async_context(working(store.maintenance.run, forgetting))
            yield

    app.cleanup_ctx.append(resources)
    return app
