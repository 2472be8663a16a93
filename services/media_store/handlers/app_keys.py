"""What handlers find in the app."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from services.media_store.model.images import PublicAddresses
from services.media_store.service.images import ImageService
from services.media_store.service.ingest import Ingest
from services.media_store.service.organizations import OrganizationUploads
from services.media_store.service.renditions import Renditions
from services.media_store.service.storage_probe import StorageProbe
from services.media_store.settings import MediaStoreSettings
from shared.app.idempotency import IdempotencyKeys
from shared.objects import ObjectStore

SETTINGS: Final = web.AppKey("SETTINGS", MediaStoreSettings)
OBJECTS: Final = web.AppKey("OBJECTS", ObjectStore)
INGEST: Final = web.AppKey("INGEST", Ingest)
IMAGES: Final = web.AppKey("IMAGES", ImageService)
RENDITIONS: Final = web.AppKey("RENDITIONS", Renditions)
UPLOADS: Final = web.AppKey("UPLOADS", OrganizationUploads)
PROBE: Final = web.AppKey("PROBE", StorageProbe)
IDEMPOTENCY: Final = web.AppKey("IDEMPOTENCY", IdempotencyKeys)
PUBLIC_ADDRESSES: Final = web.AppKey("PUBLIC_ADDRESSES", PublicAddresses)
