from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import asyncpg
import pytest

from services.planter_orders.app import build_app
from services.planter_orders.handlers.app_keys import ORDER_EVENTS
from services.planter_orders.handlers.orders import COMMENT_S
from services.planter_orders.service import announcements
from services.planter_orders.settings import PlanterOrdersSettings
from shared.app.middleware import LIFECYCLE
from shared.auth.revocations import open_revocations
from tests.support.serving import ServeApp
from tests.unit.services.planter_orders.api import Api, token
from tests.unit.services.planter_orders.test_orders import NO_ORDER, moved, ordered

PATIENCE_S = 20


class Listener:
    """One open stream of events."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self, kind: str = "status") -> dict[str, Any] | None:
        """Return the next event of this kind with its id; None at the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE_S):
            async for raw in self.response.content:
                line = raw.decode().rstrip("\n")
                if line.startswith(":"):
                    continue
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif fields.get("event") == kind:
                    return {"id": int(fields["id"]), **json.loads(fields["data"])}
                else:
                    assert fields.get("event") in {None, "status", "photo"}
                    fields = {}
        return None


@asynccontextmanager
async def listening(api: Api, order_id: str, last_event_id: str | None = None) -> AsyncIterator[Listener]:
    headers = {"Authorization": f"Bearer {api.bearer}"}
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id
    async with api.http.get(f"{api.url}/api/images/orders/{order_id}/events", headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        yield Listener(response)


async def test_first_the_state_then_each_change(api: Api) -> None:
    order_id = await ordered(api)
    async with listening(api, order_id) as listener:
        assert listener.response.headers["Cache-Control"] == "no-cache, no-transform"
        assert listener.response.headers["X-Accel-Buffering"] == "no"
        first = await listener.next()
        assert first is not None
        assert set(first) == {"id", "order_id", "status", "at", "note"}
        assert (first["order_id"], first["status"], first["note"]) == (order_id, "pending", None)
        assert first["at"].endswith("Z")
        admin = api.as_user("boss", "admin")
        await admin.call("PATCH", f"/api/admin/orders/{order_id}", json={"status": "paid", "note": "paid\nin cash ü"})
        second = await listener.next()
        assert second is not None
        assert (second["status"], second["note"]) == ("paid", "paid\nin cash ü")
        await moved(api, order_id, "in_production", "shipped")
        third, fourth = await listener.next(), await listener.next()
    assert third is not None
    assert fourth is not None
    assert [third["status"], fourth["status"]] == ["in_production", "shipped"]
    assert first["id"] < second["id"] < third["id"] < fourth["id"]


async def test_who_comes_back_gets_only_what_is_newer(api: Api) -> None:
    order_id = await ordered(api)
    async with listening(api, order_id) as listener:
        first = await listener.next()
    assert first is not None
    await moved(api, order_id, "paid", "in_production")
    async with listening(api, order_id, str(first["id"])) as listener:
        missed = [await listener.next(), await listener.next()]
        assert [event and event["status"] for event in missed] == ["paid", "in_production"]
        await moved(api, order_id, "shipped")
        last = await listener.next()
        assert last is not None
        assert last["status"] == "shipped"


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "", "²"])
async def test_a_last_event_id_that_is_none_counts_as_none(local: Api, given: str) -> None:
    order_id = await ordered(local)
    async with listening(local, order_id, given.encode().decode("latin-1")) as listener:
        first = await listener.next()
    assert first is not None
    assert first["status"] == "pending"


async def test_one_from_the_future_waits(local: Api) -> None:
    order_id = await ordered(local)
    async with listening(local, order_id, "9" * 25) as listener:
        await local.call("DELETE", f"/api/images/orders/{order_id}")
        assert await listener.next() is None


async def test_the_stream_ends_with_the_order(api: Api) -> None:
    order_id = await ordered(api)
    async with listening(api, order_id) as listener:
        assert await listener.next() is not None
        await api.call("DELETE", f"/api/images/orders/{order_id}")
        assert await listener.next() is None


async def test_the_stream_ends_when_the_service_stops(
    embedded: PlanterOrdersSettings, serve_app: ServeApp, http: aiohttp.ClientSession
) -> None:
    app = build_app(embedded, decoders=1)
    api = Api(http, await serve_app(app), token())
    order_id = await ordered(api)
    async with listening(api, order_id) as listener:
        assert await listener.next() is not None
        app[LIFECYCLE].stop()
        assert await listener.next() is None


async def test_the_stream_ends_when_the_token_expires(local: Api) -> None:
    order_id = await ordered(local)
    # Within the leeway of 30 s the token counts, but it has expired.
    brief = Api(local.http, local.url, token(life_s=-5))
    async with listening(brief, order_id) as listener:
        while await listener.next() is not None:
            pass


async def test_the_stream_ends_when_the_session_is_ended(api: Api, settings: PlanterOrdersSettings) -> None:
    order_id = await ordered(api)
    ended, goes_on = (Api(api.http, api.url, token(sid=sid)) for sid in ("sid-ended", "sid-goes-on"))
    async with listening(ended, order_id) as listener, listening(goes_on, order_id) as other:
        assert await listener.next() is not None
        assert await other.next() is not None
        async with open_revocations(settings.redis_url, settings.data_dir) as revocations:
            await revocations.revoke("sid-ended")
        await moved(api, order_id, "paid")
        assert await listener.next() is None  # not even what happened since
        event = await other.next()
        assert event is not None
        assert event["status"] == "paid"


async def test_the_stream_of_an_ended_session_ends_though_nothing_happens(
    local: Api, embedded: PlanterOrdersSettings
) -> None:
    order_id = (await local.looked_at(await ordered(local)))["order_id"]
    async with listening(Api(local.http, local.url, token(sid="sid-1")), order_id) as listener:
        assert await listener.next() is not None
        async with open_revocations("", embedded.data_dir) as revocations:
            await revocations.revoke("sid-1")
        async with asyncio.timeout(COMMENT_S - 1):
            assert await listener.next() is None


async def test_who_hears_nothing_gets_comments(
    embedded: PlanterOrdersSettings, serve_app: ServeApp, http: aiohttp.ClientSession
) -> None:
    app = build_app(embedded, decoders=1)
    api = Api(http, await serve_app(app), token())
    order_id = await ordered(api)
    await api.looked_at(order_id)
    events = app[ORDER_EVENTS].follow(order_id, None, 0.01)
    heard = [await anext(events) for _ in range(3)]
    await events.aclose()
    assert heard[0] is not None
    assert heard[1:] == [None, None]


async def test_a_head_request_does_not_hang(local: Api) -> None:
    order_id = await ordered(local)
    answer = await local.call("HEAD", f"/api/images/orders/{order_id}/events")
    assert (answer.status, answer.raw) == (200, b"")
    assert answer.headers["Content-Type"].startswith("text/event-stream")


async def test_strangers_hear_nothing(api: Api) -> None:
    order_id = await ordered(api)
    for each in (order_id, NO_ORDER):
        answer = await api.as_user("ben").call("GET", f"/api/images/orders/{each}/events")
        assert answer.status == 404


@pytest.mark.long
async def test_five_hundred_listeners_hear_of_a_change(local: Api) -> None:
    order_ids = [await ordered(local) for _ in range(2)]

    async def hear(order_id: str, ready: asyncio.Semaphore) -> list[str]:
        async with listening(local, order_id) as listener:
            heard = [await listener.next()]
            ready.release()
            heard.append(await listener.next())
        return [event["status"] for event in heard if event is not None]

    ready = asyncio.Semaphore(0)
    listeners = [asyncio.create_task(hear(order_ids[number % 2], ready)) for number in range(500)]
    async with asyncio.timeout(60):
        for _ in listeners:
            await ready.acquire()
        for order_id in order_ids:
            await moved(local, order_id, "paid")
        assert await asyncio.gather(*listeners) == [["pending", "paid"]] * 500


async def end_connections(url: str) -> None:
    """End every connection to the database but this one."""
    connection = await asyncpg.connect(url.replace("postgresql+asyncpg", "postgresql"))
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()


class TestReplicas:
    @pytest.fixture
    async def replicas(
        self,
        settings: PlanterOrdersSettings,
        serve_app: ServeApp,
        http: aiohttp.ClientSession,
        monkeypatch: pytest.MonkeyPatch,
    ) -> list[Api]:
        if not settings.redis_url:  # without it a replica hears of the other's changes by looking, every two seconds
            monkeypatch.setattr(announcements, "CATCH_UP_S", 0.2)
        return [Api(http, await serve_app(build_app(settings, decoders=1)), token()) for _ in range(2)]

    async def test_a_change_is_heard_though_every_connection_was_lost(
        self, settings: PlanterOrdersSettings, replicas: list[Api]
    ) -> None:
        here, there = replicas
        order_id = await ordered(here)
        async with listening(there, order_id) as listener:
            assert await listener.next() is not None
            if settings.database_url:
                await end_connections(settings.database_url)
            await asyncio.sleep(0.1)
            admin = here.as_user("boss", "admin")
            for _ in range(50):  # a connection of the pool that was lost is noticed by the request that gets it
                if (await admin.call("PATCH", f"/api/admin/orders/{order_id}", json={"status": "paid"})).status == 200:
                    break
            event = await listener.next()
            assert event is not None
            assert event["status"] == "paid"

    async def test_a_change_at_one_is_heard_at_the_other(self, replicas: list[Api]) -> None:
        here, there = replicas
        order_id = await ordered(here)
        async with listening(there, order_id) as listener:
            assert await listener.next() is not None
            for status in ("paid", "in_production", "shipped"):
                await moved(here, order_id, status)
                event = await listener.next()
                assert event is not None
                assert event["status"] == status
            await moved(here, order_id, "refunded")
            await here.call("DELETE", f"/api/images/orders/{order_id}")
            while await listener.next() is not None:
                pass
