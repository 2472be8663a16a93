"""Checkout, and whoever is told of changes, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp

from services.planter_orders.model.orders import PaymentUnderWay
from shared.auth.service_client import ServiceClient
from shared.errors import DependencyDown

RECEIVER_TIMEOUT = aiohttp.ClientTimeout(total=15, sock_connect=5)


class Payments:
    """Checkout, at its internal paths."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def expire_session(self, order_id: str) -> None:
        """End the order's payment session, so that it cannot be paid; without one there is nothing to end.

        Raises PaymentUnderWay, DependencyDown.
        """
        answer = await self._client.call("POST", f"/internal/orders/{order_id}/expire-session")
        if answer.status == 409:
            raise PaymentUnderWay
        if answer.status not in {200, 204, 404}:
            raise DependencyDown("checkout")


class WebhookReceiver:
    """Whom `ORDER_WEBHOOK_URL` names."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def post(self, body: bytes, headers: Mapping[str, str]) -> int | str:
        """Send a message and return the answer's status, or why there was none; redirects are not followed."""
        all_headers = {"Content-Type": "application/json", "User-Agent": "keepsake", **headers}
        try:
            async with self._session.post(
                self._url, data=body, headers=all_headers, allow_redirects=False, timeout=RECEIVER_TIMEOUT
            ) as response:
                return response.status
        except TimeoutError:
            return "No answer came in time."
        except (aiohttp.ClientError, OSError, ValueError):
            return "The receiver could not be reached."
