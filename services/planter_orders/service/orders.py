"""Orders after their upload: shown to those who may see them, moved, deleted; and erased with their person."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from services.planter_orders.adapters.http import Payments
from services.planter_orders.adapters.sql.erasures import Erasures
from services.planter_orders.adapters.sql.jobs import Orphan
from services.planter_orders.adapters.sql.orders import OrderRepository
from services.planter_orders.adapters.sql.photos import PhotoRepository
from services.planter_orders.model.orders import (
    UNPAID,
    Order,
    OrderFilter,
    OrderNotFound,
    Status,
    require_deletable,
    require_order_id,
)
from services.planter_orders.model.photos import (
    NOBODY,
    Photo,
    PhotoRequest,
    RequestReason,
    photo_key,
    photo_named,
    thumbnail_key,
)
from services.planter_orders.service.announcements import OrderEvents
from services.planter_orders.service.derived_files import MetadataFiles
from services.planter_orders.service.gauges import PHOTO_CHANGES
from services.planter_orders.service.uploading import LEASE, OrphanCleanup
from shared.app.erasure import ErasureRequest
from shared.auth.access_tokens import Principal
from shared.errors import Conflict, KeepsakeError
from shared.http.cursors import Position
from shared.log import get_logger
from shared.objects import ObjectNotFound, ObjectStore

PAGE = 200
DELETE_ATTEMPTS = 3
BATCH = 4  # an internal call is answered within 2.5 s


@dataclass(slots=True)
class OrderService:
    """What owners, admins and other services do with orders."""

    orders: OrderRepository
    photos: PhotoRepository
    payments: Payments
    objects: ObjectStore
    cleanup: OrphanCleanup
    metadata_files: MetadataFiles
    order_events: OrderEvents
    now: Callable[[], datetime]

    async def find(self, order_id: str) -> Order:
        """Return the order. Raises OrderNotFound."""
        order = await self.orders.get(require_order_id(order_id))
        if order is None:
            raise OrderNotFound
        return order

    async def show(self, caller: Principal | None, order_id: str) -> Order:
        """Return the order to its owner, an admin, or whoever has a signed link (None). Raises OrderNotFound."""
        order = await self.find(order_id)
        if caller is not None and order.user_id != caller.user_id and not caller.is_admin:
            raise OrderNotFound
        return order

    async def photo(self, caller: Principal | None, order_id: str, filename: str) -> tuple[Order, Photo]:
        """Return the order and one of its photos. Raises OrderNotFound, PhotoNotFound."""
        order = await self.show(caller, order_id)
        return order, photo_named(order.photos, filename)

    async def page(
        self, wanted: OrderFilter, after: Position | None, limit: int
    ) -> tuple[Sequence[Order], Position | None]:
        """Return at most `limit` orders, the newest first, and where the next page begins if there is one."""
        found = await self.orders.page(wanted, after, limit + 1)
        page = found[:limit]
        return page, Position(page[-1].created_at, page[-1].id) if len(found) > limit else None

    async def pages(self, wanted: OrderFilter, after: Position | None) -> AsyncGenerator[Sequence[Order], None]:
        """Iterate over all orders in pages; there is at least one, which may be empty."""
        while True:
            page, after = await self.page(wanted, after, PAGE)
            yield page
            if after is None:
                return

    async def move(self, order_id: str, target: Status, note: str | None, event_id: str | None = None) -> Order:
        """Change the status; a move that checkout did not ask for ends the order's open payment session first.

        Raises OrderNotFound, IllegalMove, PaymentUnderWay, DependencyDown.
        """
        order = await self.find(order_id)
        if order.status is Status.AWAITING_PAYMENT and event_id is None:
            if target is Status.CANCELLED:
                await self._expire_if_possible(order_id)
            elif target in {Status.PAID, Status.PENDING}:  # an open session would take the money a second time
                await self.payments.expire_session(order_id)
        if await self.orders.move(order_id, target, note, self.now(), event_id):
            return await self._changed(order_id)
        return await self.find(order_id)

    async def _changed(self, order_id: str) -> Order:
        """Tell everybody, write the metadata file, and return the order."""
        await self.order_events.announce(order_id)
        await self.metadata_files.write(order_id)
        return await self.find(order_id)

    async def request_photo(self, order_id: str, filename: str, reason: RequestReason, note: str | None) -> Order:
        """Ask the customer for another photo in the place of this one. Raises OrderNotFound, PhotoNotFound, PhotoFixed."""
        request = PhotoRequest(reason, note, self.now())
        await self.photos.request(require_order_id(order_id), filename, request)
        PHOTO_CHANGES.labels("requested").inc()
        return await self._changed(order_id)

    async def withdraw_request(self, order_id: str, filename: str) -> Order:
        """Ask no more for another photo. Raises OrderNotFound, PhotoNotFound, RequestNotFound."""
        await self.photos.withdraw_request(require_order_id(order_id), filename, self.now())
        PHOTO_CHANGES.labels("withdrawn").inc()
        return await self._changed(order_id)

    async def delete(self, caller: Principal | None, order_id: str) -> None:
        """Delete the order and its objects, for its owner, an admin or ourselves (None).

        Raises OrderNotFound, OrderPaid, Conflict, DependencyDown.
        """
        for _ in range(DELETE_ATTEMPTS):
            order = await self.show(caller, order_id)
            require_deletable(order.status)
            await self.objects.check()
            if order.status is Status.AWAITING_PAYMENT:
                await self.payments.expire_session(order_id)
            if await asyncio.shield(self._delete(order)):
                return
        raise Conflict("The order is being changed right now. Please try again.", "order_busy")

    async def _delete(self, order: Order) -> bool:
        if not await self.orders.delete(order, self.now() + LEASE):
            return False
        await self.order_events.announce(order.id)
        await self.cleanup.remove(Orphan(order.id, order.user_id))
        return True

    async def _expire_if_possible(self, order_id: str) -> None:
        """End the payment session of an order that is cancelled; if checkout is down, a payment will find it cancelled."""
        try:
            await self.payments.expire_session(order_id)
        except Conflict:
            raise
        except KeepsakeError as error:
            get_logger().warning("payment_session_left_open", code=error.code)


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
        """Copy the photos to the folder of erased owners, take the person out of the order, and delete the old folder."""
        for photo in order.photos:
            for key_of in (photo_key, thumbnail_key):
                with suppress(ObjectNotFound):  # a thumbnail that is not made yet
                    source = key_of(order.user_id, order.id, photo.filename)
                    await self.objects.copy(source, key_of(NOBODY, order.id, photo.filename))
        if await self.erasures.detach(order, self.now(), self.now() + LEASE):
            await self.cleanup.remove(Orphan(order.id, order.user_id))
