"""The other services over HTTP: temp-image's holds and planter-orders' orders."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.checkout.model.sessions import OrderUpdate
from shared.auth.service_client import ServiceAnswer, ServiceClient
from shared.clock import rfc3339
from shared.errors import DependencyDown


def _require(answer: ServiceAnswer, *expected: int, name: str) -> ServiceAnswer:
    """Return the answer; one that the interface does not have counts as none."""
    if answer.status not in expected:
        raise DependencyDown(name)
    return answer


class HttpTempImages:
    """temp-image's holds; DependencyDown("temp-image") where it does not answer."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def hold(self, image_id: str, holder: str, until: datetime) -> bool:
        """Keep the image for `holder` until then, again and again; False where it is gone."""
        answer = await self._client.call("PUT", _hold(image_id, holder), json={"until": rfc3339(until)})
        return _require(answer, 200, 404, name="temp-image").status == 200

    async def release(self, image_id: str, holder: str) -> None:
        """End the hold; it is no error that there was none."""
        _require(await self._client.call("DELETE", _hold(image_id, holder)), 204, 404, name="temp-image")

    async def read(self, image_id: str, holder: str) -> tuple[bytes, str] | None:
        """Return the held bytes and their content type; None where they are gone."""
        answer = await self._client.call("GET", f"{_hold(image_id, holder)}/bytes")
        if _require(answer, 200, 404, name="temp-image").status == 404:
            return None
        return answer.body, answer.content_type


def _hold(image_id: str, holder: str) -> str:
    return f"/internal/holds/{image_id}/{holder}"


class HttpOrders:
    """The order service; DependencyDown("planter-orders") where it does not answer."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def find(self, order_id: str) -> Mapping[str, Any] | None:
        """Return `order_id`, `user_id` and `status`; None where there is no such order."""
        answer = await self._client.call("GET", f"/internal/orders/{order_id}")
        found: Mapping[str, Any] = _require(answer, 200, 404, name="planter-orders").body
        return None if answer.status == 404 else found

    async def update(self, update: OrderUpdate) -> bool:
        """Give the order its new status, once per event id; False where that is no legal move, or there is no such order."""
        body = {"status": update.status, "note": update.note, "event_id": update.event_id}
        answer = await self._client.call("POST", f"/internal/orders/{update.order_id}/status", json=body)
        return _require(answer, 200, 404, 409, name="planter-orders").status == 200
