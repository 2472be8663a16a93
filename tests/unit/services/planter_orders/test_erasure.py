from __future__ import annotations

import asyncio
import itertools
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from services.planter_orders.adapters.sql.erasures import Erasures
from services.planter_orders.app import build_app
from services.planter_orders.handlers.app_keys import ORDERS
from services.planter_orders.service.orders import PersonEraser
from services.planter_orders.settings import PlanterOrdersSettings
from shared.app.erasure import ERASER, PATH, ErasureRequest
from shared.objects import ObjectStore
from tests.support import pictures
from tests.support.dying import Death, Killed
from tests.support.serving import ServeApp
from tests.unit.services.planter_orders.api import Api, token

PHOTO = ("My Rex at 5 High Street.png", pictures.png(), "image/png")
ABOUT = {"pet_name": "Rex", "pet_type": "dog", "notes": "Ring at Ms Smith's"}
WHO = {"user_id": "ann", "username": "ann"}


async def order(api: Api, status: str = "pending") -> str:
    """Place an order and bring it to a status, as checkout and admins do."""
    answer = await api.upload(PHOTO, fields=ABOUT)
    assert answer.status == 200, answer
    order_id = str(answer.body["order_id"])
    await api.looked_at(order_id)
    if status != "pending":
        await move(api, order_id, status)
    return order_id


async def move(api: Api, order_id: str, *statuses: str) -> None:
    for status in statuses:
        body = {"status": status, "note": "Ms Smith called"}
        answer = await api.as_user("root", "admin").call("PATCH", f"/api/admin/orders/{order_id}", json=body)
        assert answer.status == 200, answer


async def erase(api: Api) -> None:
    async with asyncio.timeout(30):
        while not (await api.internal("POST", PATH, as_service="auth-verify", json=WHO)).body["done"]:
            pass


async def shown(api: Api, order_id: str) -> Any:
    return await api.as_user("root", "admin").order(order_id)


async def photo_of(api: Api, order: Any) -> bytes:
    path = f"/api/images/orders/{order['order_id']}/files/{order['files'][0]['filename']}"
    answer = await api.as_user("root", "admin").call("GET", path)
    assert answer.status == 200, answer
    return answer.raw


def eraser_of(app: web.Application) -> PersonEraser:
    eraser = app[ERASER]
    assert isinstance(eraser, PersonEraser)
    return eraser


async def keys(objects: ObjectStore) -> list[str]:
    return [facts.key async for facts in objects.list()]


async def gone_from(objects: ObjectStore, folder: str) -> None:
    async with asyncio.timeout(30):
        while any(folder in key for key in await keys(objects)):  # noqa: ASYNC110 - a sweep tells nobody
            await asyncio.sleep(0.05)


async def test_unpaid_orders_go_with_all_that_they_had(api: Api, objects: ObjectStore) -> None:
    ids = [await order(api), await order(api, "cancelled")]
    other = await order(api.as_user("bob"))
    await erase(api)
    for order_id in ids:
        assert (await api.call("GET", f"/api/images/orders/{order_id}")).status == 404
    assert all(f"/bob/{other}/" in key for key in await keys(objects))


@pytest.mark.parametrize("moves", [["paid"], ["paid", "in_production"]])
async def test_a_paid_order_keeps_its_photos_and_loses_its_person(
    api: Api, objects: ObjectStore, moves: list[str]
) -> None:
    order_id = await order(api)
    await move(api, order_id, *moves)
    before = await shown(api, order_id)
    await erase(api)
    after = await shown(api, order_id)
    assert (after["order_id"], after["status"], after["user_id"]) == (order_id, moves[-1], "")
    assert (after["pet_name"], after["pet_type"], after["notes"]) == (None, None, None)
    assert "Smith" not in str(after)
    assert "Rex" not in str(after)
    assert after["files"][0]["filename"] == before["files"][0]["filename"]
    assert await photo_of(api, after) == PHOTO[1]
    assert (await api.call("GET", f"/api/images/orders/{order_id}")).status == 404
    assert (await api.call("GET", "/api/images/orders")).body["count"] == 0
    await gone_from(objects, "/ann/")


@pytest.mark.parametrize("moves", [["paid", "in_production", "shipped"], ["paid", "refunded"]])
async def test_the_photos_go_once_the_order_is_done(
    api: Api, moves: list[str], settings: PlanterOrdersSettings, serve_app: ServeApp
) -> None:
    order_id = await order(api)
    await move(api, order_id, "paid")
    await erase(api)
    await move(api, order_id, *moves[1:])
    app = build_app(settings, decoders=1)
    await serve_app(app)
    await eraser_of(app).sweep()
    after = await shown(api, order_id)
    assert (after["status"], after["files"]) == (moves[-1], [])


async def test_photos_of_an_order_that_is_done_already_go_at_once_or_with_the_next_sweep(
    settings: PlanterOrdersSettings, serve_app: ServeApp, http: aiohttp.ClientSession, objects: ObjectStore
) -> None:
    app = build_app(settings, decoders=1)
    api = Api(http, await serve_app(app), token())
    order_id = await order(api)
    await move(api, order_id, "paid", "in_production", "shipped", "delivered")
    await erase(api)
    await eraser_of(app).sweep()
    assert (await shown(api, order_id))["files"] == []
    await gone_from(objects, "/ann/")
    assert not [key for key in await keys(objects) if key.endswith((".png", ".webp"))]


async def test_whoever_dies_at_any_step_the_next_call_goes_on_to_the_end(
    settings: PlanterOrdersSettings, serve_app: ServeApp, http: aiohttp.ClientSession, objects: ObjectStore
) -> None:
    app = build_app(settings, decoders=1)
    api = Api(http, await serve_app(app), token())
    whole = eraser_of(app)
    for step in itertools.count():
        unpaid, paid = await order(api), await order(api)
        await move(api, paid, "paid")
        death = Death(step)
        dying = PersonEraser(
            orders=death.to(whole.orders),
            service=death.to(app[ORDERS]),
            erasures=death.to(whole.erasures),
            objects=death.to(whole.objects),
            cleanup=death.to(whole.cleanup),
            now=whole.now,
        )
        try:
            while not await dying.erase(ErasureRequest(**WHO)):
                pass
        except Killed:
            await erase(api)
        else:
            break
        assert (await api.call("GET", f"/api/images/orders/{unpaid}")).status == 404
        after = await shown(api, paid)
        assert (after["user_id"], after["status"], after["notes"]) == ("", "paid", None)
        assert await photo_of(api, after) == PHOTO[1]
    assert step > 10
    assert isinstance(whole.erasures, Erasures)


async def test_it_is_for_services_alone(local: Api) -> None:
    for caller in (local, local.as_user("root", "admin")):
        assert (await caller.call("POST", PATH, json=WHO)).status == 401
