"""Sending the events: signed as Stripe signs, again and again until they are taken, and the clock that expires sessions."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sqlite3
import time
from contextlib import suppress

import aiohttp

from shared.log import get_logger
from stripe_sandbox.ledger import Ledger
from stripe_sandbox.store import Delivery

TICK_S = 0.5
ANSWER_TIMEOUT = aiohttp.ClientTimeout(total=20)
MAX_ATTEMPTS = 20
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 60.0
AT_ONCE = 16


def sign(payload: bytes, secret: str, at_s: int) -> str:
    """Return the `Stripe-Signature` header of a payload sent at that Unix time."""
    digest = hmac.new(secret.encode(), b"%d.%b" % (at_s, payload), hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


class Sender:
    """Delivers what the ledger scheduled, until it is cancelled; what is not delivered by then waits in the store."""

    def __init__(self, ledger: Ledger, client: aiohttp.ClientSession, url: str, secret: str) -> None:
        self._ledger = ledger
        self._client = client
        self._url = url
        self._secret = secret
        self._under_way: set[str] = set()

    async def run(self) -> None:
        """Work until cancelled; a disk that fails is tried again."""
        while True:
            try:
                await self._work()
            except* sqlite3.Error:
                get_logger().exception("sandbox_store_failed")
                await asyncio.sleep(TICK_S)

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                self._ledger.scheduled.clear()
                self._ledger.expire_overdue()
                for delivery in self._ledger.store.due(self._ledger.now(), 2 * AT_ONCE):
                    identifier = delivery.event["id"]
                    if identifier not in self._under_way and len(self._under_way) < AT_ONCE:
                        self._under_way.add(identifier)
                        group.create_task(self._deliver(delivery))
                with suppress(TimeoutError):
                    async with asyncio.timeout(TICK_S):
                        await self._ledger.scheduled.wait()

    async def _deliver(self, delivery: Delivery) -> None:
        event, attempts = delivery.event, delivery.attempts + 1
        try:
            taken = await self._post(json.dumps(event, indent=2).encode())
        finally:
            self._under_way.discard(event["id"])
            self._ledger.scheduled.set()
        store = self._ledger.store
        with store.transaction():
            if taken:
                store.put(event | {"pending_webhooks": 0})
            if taken or attempts >= MAX_ATTEMPTS:
                store.unschedule(event["id"])
            else:
                delay_s = min(FIRST_DELAY_S * 2**delivery.attempts, LONGEST_DELAY_S)
                store.schedule(event["id"], attempts, self._ledger.now() + delay_s)

    async def _post(self, payload: bytes) -> bool:
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": sign(payload, self._secret, int(time.time())),
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        try:
            async with self._client.post(
                self._url, data=payload, headers=headers, timeout=ANSWER_TIMEOUT, allow_redirects=False
            ) as answer:
                return 200 <= answer.status < 300
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False
