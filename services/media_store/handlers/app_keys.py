"""What handlers find in the app."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from services.media_store.model import PublicAddresses
from services.media_store.service.images import ImageService
from services.media_store.service.ingest import Intake
from services.media_store.service.organizations import OrganizationUploads
from services.media_store.service.renditions import Renditions
from services.media_store.service.storage_probe import StorageProbe
from services.media_store.settings import MediaStoreSettings
from shared.app.idempotency import IdempotencyKeys
from shared.objects import ObjectStore

SETTINGS: Final = web.AppKey("SETTINGS", MediaStoreSettings)
BLOBS: Final = web.AppKey("BLOBS", ObjectStore)
INTAKE: Final = web.AppKey("INTAKE", Intake)
IMAGES: Final = web.AppKey("IMAGES", ImageService)
RENDITIONS: Final = web.AppKey("RENDITIONS", Renditions)
UPLOADS: Final = web.AppKey("UPLOADS", OrganizationUploads)
PROBE: Final = web.AppKey("PROBE", StorageProbe)
KEYS: Final = web.AppKey("KEYS", IdempotencyKeys)
ADDRESSES: Final = web.AppKey("ADDRESSES", PublicAddresses)
