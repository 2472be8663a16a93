"""What the handlers find in the app."""

from typing import Final

from aiohttp import web

from services.checkout.model.catalogue import Catalogue
from services.checkout.service import CheckoutService
from services.checkout.settings import CheckoutSettings
from shared.app.idempotency import IdempotencyKeys
from shared.objects import ObjectStore

SERVICE: Final = web.AppKey("SERVICE", CheckoutService)
SETTINGS: Final = web.AppKey("SETTINGS", CheckoutSettings)
CATALOGUE: Final = web.AppKey("CATALOGUE", Catalogue)
IDEMPOTENCY: Final = web.AppKey("IDEMPOTENCY", IdempotencyKeys)
OBJECTS: Final = web.AppKey("OBJECTS", ObjectStore)
