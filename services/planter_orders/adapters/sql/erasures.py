"""Orders whose owner is erased: the person goes, what the books need stays."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from services.planter_orders.adapters.sql.changes import PHOTO_REQUESTS, change_order, count, lock_order
from services.planter_orders.adapters.sql.reading import NO_REQUEST, orders_of
from services.planter_orders.adapters.sql.tables import EVENTS, FILES, ORDERS, ORPHANS
from services.planter_orders.model.orders import DONE, Order
from services.planter_orders.model.photos import NOBODY
from shared.persistence.engine import Repository

T = ORDERS.c


class Erasures(Repository):
    """Changes of orders whose owner is erased; each call is one transaction."""

    async def detach(self, order: Order, at: datetime, orphan_due_at: datetime) -> bool:
        """Take the person from the order, and enter the person's folder of it among the orphans.

        What the books need stays: id, status, times, and the photos' entries; requests for other photos end, for nobody could
        answer them. False where the order was changed meanwhile. Raises OrderNotFound.
        """
        async with self._database.begin() as connection:
            row = await lock_order(connection, order.id)
            version = await connection.scalar(sa.select(T.version).where(T.id == order.id))
            if (row.user_id, version) != (order.user_id, order.version):
                return False
            nothing = dict.fromkeys(("pet_name", "pet_name_folded", "pet_type", "notes"))
            await change_order(connection, order.id, at, **nothing, user_id=NOBODY, open_requests=0)
            files = sa.update(FILES).where(FILES.c.order_id == order.id)
            await connection.execute(files.values(**NO_REQUEST, original_filename=FILES.c.filename))
            await connection.execute(sa.update(EVENTS).where(EVENTS.c.order_id == order.id).values(note=None))
            orphan = {"order_id": order.id, "filename": "", "user_id": order.user_id}
            await connection.execute(sa.insert(ORPHANS).values(**orphan, due_at=orphan_due_at, doomed=True, passes=0))
            await count(connection, {PHOTO_REQUESTS: -row.open_requests})
        return True

    async def done_with_photos(self, limit: int) -> Sequence[Order]:
        """Return orders of nobody that are made and sent, or paid back, and have photos still."""
        has_photos = sa.exists().where(FILES.c.order_id == T.id)
        query = sa.select(ORDERS).where(T.user_id == NOBODY, T.status.in_(sorted(DONE)), has_photos).limit(limit)
        async with self._database.read() as connection:
            return await orders_of(connection, query)

    async def forget_photos(self, order: Order, at: datetime) -> None:
        async with self._database.begin() as connection:
            await connection.execute(sa.delete(FILES).where(FILES.c.order_id == order.id))
            await change_order(connection, order.id, at, is_warned=False)
