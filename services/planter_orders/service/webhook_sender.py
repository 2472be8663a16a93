"""Telling `ORDER_WEBHOOK_URL` of each change: signed, in order, again and again for 24 hours."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from prometheus_client import Counter

from services.planter_orders.adapters.http import WebhookReceiver
from services.planter_orders.adapters.sql import Outbox
from services.planter_orders.model.deliveries import Attempt, Delivery, DeliveryState, OutgoingWebhook, WebhooksOff
from services.planter_orders.model.signing import signed_headers
from shared.concurrency.periodic import work_periodically
from shared.errors import KeepsakeError
from shared.log import get_logger

WEBHOOKS = Counter("keepsake_order_webhooks_total", "Attempts to tell of a change, by outcome.", ["outcome"])
INTERVAL_S = 1.0
AT_ONCE = 8
LEASE = timedelta(seconds=30)  # longer than the receiver may take
TRIED_FOR = timedelta(hours=24)
KEPT_FOR = timedelta(days=30)
LONGEST_WAIT_S = 7200
GONE = 410


def wait_before(attempt: int) -> timedelta:
    """Return how long to wait before this attempt (2 is the first repetition): 1 s, 5 s, 25 s, … two hours, a bit less."""
    most = min(5 ** min(attempt - 2, 6), LONGEST_WAIT_S)
    return timedelta(seconds=most * random.uniform(0.8, 1))  # noqa: S311 - spreads the load, keeps no secret


class WebhookSender:
    """Empties the outbox; several processes share it by leases."""

    def __init__(
        self, *, outbox: Outbox, receiver: WebhookReceiver, keys: Sequence[bytes], now: Callable[[], datetime]
    ) -> None:
        self._outbox = outbox
        self._receiver = receiver
        self._keys = keys
        self._now = now
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look for messages now."""
        self._wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        await work_periodically("webhooks", self.sweep, INTERVAL_S, wake=self._wake)

    async def sweep(self) -> None:
        """Send what is due; what becomes due by that, too."""
        while messages := await self._outbox.take_due(self._now(), self._now() + LEASE, AT_ONCE):
            await asyncio.gather(*(self._send(message) for message in messages))

    async def _send(self, message: OutgoingWebhook) -> None:
        now = self._now()
        # The time is this attempt's, so that receivers can refuse what is replayed.
        headers = signed_headers(message.message_id, int(now.timestamp()), message.body, self._keys)
        answer = await self._receiver.post(message.body, headers)
        status, error = (answer, None) if isinstance(answer, int) else (None, answer)
        attempt = Attempt(self._now(), status, error)
        try:
            if status is not None and 200 <= status < 300:
                WEBHOOKS.labels("taken").inc()
                await self._outbox.finish(message.seq, DeliveryState.DELIVERED, attempt)
            elif status == GONE or now - message.tried_since >= TRIED_FOR:
                WEBHOOKS.labels("given up").inc()
                get_logger().error("webhook_given_up", message=message.message_id, status=status)
                await self._outbox.finish(message.seq, DeliveryState.FAILED, attempt)
            else:
                WEBHOOKS.labels("put off").inc()
                get_logger().warning("webhook_deferred", message=message.message_id, status=status)
                await self._outbox.put_off(message.seq, self._now() + wait_before(message.attempts + 1), attempt)
        except KeepsakeError as refusal:
            get_logger().warning("webhook_outcome_not_kept", message=message.message_id, code=refusal.code)


class Deliveries:
    """What admins see of the outbox, and what they have sent again."""

    def __init__(self, outbox: Outbox, sender: WebhookSender | None, now: Callable[[], datetime]) -> None:
        self._outbox = outbox
        self._sender = sender
        self._now = now

    async def page(
        self, state: DeliveryState | None, before: int | None, limit: int
    ) -> tuple[Sequence[Delivery], int | None]:
        """Return at most `limit` deliveries, the newest first, and the number below which the next page begins."""
        found = await self._outbox.page(state, before, limit + 1)
        page = found[:limit]
        return page, page[-1].seq if len(found) > limit else None

    async def resend(self, message_id: str) -> Delivery:
        """Have a message sent again. Raises DeliveryNotFound, WebhooksOff."""
        if self._sender is None:
            raise WebhooksOff
        delivery = await self._outbox.resend(message_id, self._now())
        self._sender.wake()
        return delivery

    async def forget_old(self) -> None:
        """Forget what was delivered or given up a month ago."""
        await self._outbox.forget_old(self._now() - KEPT_FOR)
