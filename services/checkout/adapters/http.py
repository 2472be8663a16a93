"""The other services over HTTP: temp-image's holds and planter-orders' orders."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.checkout.model.sessions import OrderMove
from services.checkout.ports import HeldImage
from shared.auth.service_client import ServiceAnswer, ServiceClient
from shared.clock import rfc3339
from shared.errors import DependencyDown


def _require(answer: ServiceAnswer, *expected: int, name: str) -> ServiceAnswer:
    """Return the answer; one that the interface does not have counts as none."""
    if answer.status not in expected:
        raise DependencyDown(name)
    return answer


class HttpTempImages:
    """`TempImages` over temp-image's internal paths."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def hold(self, image_id: str, holder: str, until: datetime) -> HeldImage | None:
        """Place or lengthen the hold."""
        answer = await self._client.call("PUT", _hold(image_id, holder), json={"until": rfc3339(until)})
        if _require(answer, 200, 404, name="temp-image").status == 404:
            return None
        return HeldImage(answer.body["content_type"], answer.body["size"])

    async def release(self, image_id: str, holder: str) -> None:
        """End it."""
        _require(await self._client.call("DELETE", _hold(image_id, holder)), 204, 404, name="temp-image")

    async def read(self, image_id: str, holder: str) -> tuple[bytes, str] | None:
        """Fetch the bytes."""
        answer = await self._client.call("GET", f"{_hold(image_id, holder)}/bytes")
        if _require(answer, 200, 404, name="temp-image").status == 404:
            return None
        return answer.body, answer.content_type


def _hold(image_id: str, holder: str) -> str:
    return f"/internal/holds/{image_id}/{holder}"


class HttpOrders:
    """`Orders` over planter-orders' internal paths."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def find(self, order_id: str) -> Mapping[str, Any] | None:
        """Ask for the order."""
        answer = await self._client.call("GET", f"/internal/orders/{order_id}")
        found: Mapping[str, Any] = _require(answer, 200, 404, name="planter-orders").body
        return None if answer.status == 404 else found

    async def move(self, move: OrderMove) -> bool:
        """Tell the new status."""
        body = {"status": move.status, "note": move.note, "event_id": move.event_id}
        answer = await self._client.call("POST", f"/internal/orders/{move.order_id}/status", json=body)
        return _require(answer, 200, 404, 409, name="planter-orders").status == 200
