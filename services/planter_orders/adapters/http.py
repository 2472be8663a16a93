"""Checkout, and whoever is told of changes, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp

from services.planter_orders.model.status import OrderPaid
from shared.auth.service_client import ServiceClient
from shared.errors import DependencyDown

RECEIVER_TIMEOUT = aiohttp.ClientTimeout(total=15, sock_connect=5)


class HttpPayments:
    """`Payments` over checkout's internal path."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def expire_session(self, order_id: str) -> None:
        """Ask for it; an order without a session has none that could be paid."""
        answer = await self._client.call("POST", f"/internal/orders/{order_id}/expire-session")
        if answer.status == 409:
            raise OrderPaid
        if answer.status not in {200, 204, 404}:
            raise DependencyDown("checkout")


class HttpWebhookReceiver:
    """`WebhookReceiver` at one address, which the operator chose."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def post(self, body: bytes, headers: Mapping[str, str]) -> int | None:
        """Send it; redirects are not followed, and of the answer nothing but the status is read."""
        all_headers = {"Content-Type": "application/json", "User-Agent": "keepsake", **headers}
        try:
            async with self._session.post(
                self._url, data=body, headers=all_headers, allow_redirects=False, timeout=RECEIVER_TIMEOUT
            ) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None
