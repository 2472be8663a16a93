"""Erasing a person: unpaid orders go, paid ones keep what the books need, and their photos until they are made and sent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from services.planter_orders.adapters.sql import Erasures, OrderRepository, Orphan
from services.planter_orders.model.object_keys import NOBODY, photo_key, thumbnail_key
from services.planter_orders.model.orders import Order, OrderFilter, OrderNotFound
from services.planter_orders.model.status import UNPAID
from services.planter_orders.service.orders import OrderService
from services.planter_orders.service.orphan_cleanup import LEASE, OrphanCleanup
from shared.app.erasure import ErasureRequest
from shared.errors import Conflict
from shared.objects import ObjectNotFound, ObjectStore

BATCH = 4  # an internal call is answered within 2.5 s


@dataclass(frozen=True, slots=True)
class PersonEraser:
    """Each step may be done twice, and a crash after any of them leaves the order to the next call or sweep."""

    orders: OrderRepository
    service: OrderService
    erasures: Erasures
    objects: ObjectStore
    cleanup: OrphanCleanup
    now: Callable[[], datetime]

    async def erase(self, who: ErasureRequest) -> bool:
        """Erase a few of the person's orders; True once there is none."""
        found = await self.orders.page(OrderFilter(user_id=who.user_id), None, BATCH)
        for order in found:
            with suppress(OrderNotFound, Conflict):  # gone already, or being paid: the next call sees which
                await (self.service.delete(None, order.id) if order.status in UNPAID else self._detach(order))
        return not found

    async def sweep(self) -> None:
        """Delete the photos of erased people's orders that need them no more: bytes first, then their entries."""
        for order in await self.erasures.done_with_photos(BATCH):
            for photo in order.photos:
                for key_of in (photo_key, thumbnail_key):
                    await self.objects.delete(key_of(order.user_id, order.id, photo.filename))
            await self.erasures.forget_photos(order, self.now())

    async def _detach(self, order: Order) -> None:
        """Copy the photos to nobody's folder, take the person from the order, and delete the person's folder of it."""
        for photo in order.photos:
            for key_of in (photo_key, thumbnail_key):
                with suppress(ObjectNotFound):  # a thumbnail that is not made yet
                    source = key_of(order.user_id, order.id, photo.filename)
                    await self.objects.copy(source, key_of(NOBODY, order.id, photo.filename))
        if await self.erasures.detach(order, self.now(), self.now() + LEASE):
            await self.cleanup.remove(Orphan(order.id, order.user_id))
