"""The process dies at every call it makes to anything outside itself, before it and after it, and is started again."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from services.checkout.adapters.http import HttpOrders, HttpTempImages
from services.checkout.adapters.sql.order_updates import SqlOrderUpdates
from services.checkout.adapters.sql.refunds import SqlRefunds
from services.checkout.adapters.sql.resolutions import SqlResolutions
from services.checkout.adapters.sql.sessions import SqlEvents, SqlSessions
from services.checkout.adapters.sql.tables import IDEMPOTENCY_KEYS
from services.checkout.adapters.stripe import open_payments
from services.checkout.adapters.toml import BUILT_IN
from services.checkout.app import NAME, build_service
from services.checkout.model.payments import Action, WebhookEvent
from services.checkout.service import CheckoutService
from shared.app.idempotency import IdempotencyKeys
from shared.auth.service_client import ServiceClient, open_http_client
from shared.errors import Conflict, KeepsakeError
from shared.images.decode_pool import open_image_workers
from shared.objects.factory import open_object_store
from shared.persistence.engine import open_database
from tests.unit.services.checkout.conftest import StartShop
from tests.unit.services.checkout.shop import Shop, picture

pytestmark = pytest.mark.long

Work = Callable[[CheckoutService], Awaitable[Any]]


class Killed(BaseException):
    """The end of the process, as its code sees it."""


class Fate:
    """Counts the calls to the outside, and ends the process at the one it is told: after it, or before it.

    From then on nothing reaches the outside any more, whatever handlers of the dying process still try.
    """

    def __init__(self, deadly: int | None, *, after: bool) -> None:
        self.calls = 0
        self.is_dead = False
        self._deadly = deadly
        self._after = after

    async def call(self, method: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        if self.is_dead:
            raise Killed
        self.calls += 1
        if self.calls != self._deadly:
            return await method(*args, **options)
        if self._after:
            await method(*args, **options)
        self.is_dead = True
        raise Killed


class Mortal:
    """An adapter that a `Fate` hangs over."""

    def __init__(self, adapter: Any, fate: Fate) -> None:
        self._adapter = adapter
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._adapter, name)
        return partial(self._fate.call, member) if inspect.iscoroutinefunction(inspect.unwrap(member)) else member


@asynccontextmanager
async def life(shop: Shop, fate: Fate) -> AsyncIterator[CheckoutService]:
    """Run the use cases as a process of their own, beside no other: the shop's checkout stands still."""
    settings = shop.settings()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(settings.database_url, settings.data_dir, NAME))
        http = await stack.enter_async_context(open_http_client())
        client = partial(ServiceClient, http, caller=NAME, secret=settings.internal_secret)
        mortal: Any = partial(Mortal, fate=fate)
        service = build_service(
            settings,
            sessions=mortal(SqlSessions(database)),
            order_updates=mortal(SqlOrderUpdates(database)),
            events=mortal(SqlEvents(database)),
            refunds=mortal(SqlRefunds(database)),
            payments=mortal(await stack.enter_async_context(open_payments(settings))),
            images=mortal(HttpTempImages(client(settings.temp_image_url, name="temp-image"))),
            orders=mortal(HttpOrders(client(settings.planter_orders_url, name="planter-orders"))),
            objects=mortal(await stack.enter_async_context(open_object_store(settings))),
            workers=await stack.enter_async_context(open_image_workers(processes=1)),
            resolutions=mortal(SqlResolutions(database)),
            keys=IdempotencyKeys(database, IDEMPOTENCY_KEYS, shop.now),
            now=shop.now,
        )
        yield service
        await service.fulfilment.close()


async def live(shop: Shop, work: Work, deadly: int | None = None, *, after: bool = False) -> tuple[bool, int]:
    """Do `work` in one life; return whether it came to its end, and how many calls it made."""
    fate = Fate(deadly, after=after)
    done = False
    async with life(shop, fate) as service:
        try:
            await work(service)
            done = not fate.is_dead
        except* Killed:
            pass
    return done, fate.calls


async def die_everywhere(
    shop: Shop, begin: Callable[[], Awaitable[Work]], after: Callable[[], Awaitable[None]]
) -> None:
    """Begin anew for each call that the work makes, die there, and have `after` see to it that the next life mends it."""
    deadly, step = 1, False
    while True:
        done, _ = await live(shop, await begin(), deadly, after=step)
        await after()
        if done:
            assert deadly > 3
            return
        deadly, step = (deadly, True) if not step else (deadly + 1, False)


@pytest.fixture
async def quiet_shop(start_shop: StartShop, request: pytest.FixtureRequest) -> Shop:
    """The shop with its own checkout ended, after it made the tables; on PostgreSQL where a test asks for it."""
    on_postgres = getattr(request, "param", "sqlite") == "postgres"
    shop = await start_shop(str(request.getfixturevalue("postgres_url")) if on_postgres else "")
    await shop.stop("checkout")
    shop.postman.passing = False
    return shop


def cart() -> Any:
    return BUILT_IN.choose(sku=None, quantity=1, currency="usd", for_order=False)


def order_cart() -> Any:
    return BUILT_IN.choose(sku=None, quantity=1, currency="usd", for_order=True)


async def sweep_until_quiet(shop: Shop) -> None:
    """Start again, and let time pass."""

    async def work(service: CheckoutService) -> None:
        for _ in range(3):
            shop.ahead += timedelta(seconds=61)
            await service.sweeper.sweep()

    done, _ = await live(shop, work)
    assert done


async def test_opening_goes_on_after_any_crash(quiet_shop: Shop) -> None:
    shop = quiet_shop
    image_id = ""

    async def begin() -> Work:
        nonlocal image_id
        image_id = await shop.upload()
        return lambda service: service.opener.open(cart(), image_id=image_id)

    async def mend() -> None:
        async with life(shop, Fate(None, after=False)) as service:
            row = await service.opener.open(cart(), image_id=image_id)
        held = [s for s in shop.ledger.store.select("checkout.session") if s["metadata"]["imageId"] == image_id]
        assert [session["id"] for session in held] == [row.session_id]
        assert await shop.is_held(image_id, row.session_id or "")

    await die_everywhere(shop, begin, mend)


@pytest.mark.parametrize(
    ("teller", "quiet_shop"),
    [
        ("webhook", "sqlite"),
        ("landing page", "sqlite"),
        ("sweeper", "sqlite"),
        ("both", "sqlite"),
        ("both", "postgres"),
    ],
    indirect=["quiet_shop"],
)
async def test_a_payment_is_fulfilled_after_any_crash(teller: str, quiet_shop: Shop) -> None:
    shop = quiet_shop
    image_id = session_id = ""

    async def begin() -> Work:
        nonlocal image_id, session_id
        image_id = await shop.upload()
        async with life(shop, Fate(None, after=False)) as service:
            row = await service.opener.open(cart(), image_id=image_id)
        session_id = row.session_id or ""
        await shop.press(session_id)
        event = WebhookEvent(
            f"evt_{row.id}", "checkout.session.completed", session_id, None, row.id, shop.settings().public_url
        )

        async def tell(service: CheckoutService) -> None:
            if teller == "sweeper":
                shop.ahead += timedelta(minutes=36)
                await service.sweeper.sweep()
                return
            async with asyncio.TaskGroup() as group:
                if teller != "landing page":
                    group.create_task(service.webhooks.take(event))
                if teller != "webhook":
                    group.create_task(service.queries.status(session_id, None))

        return tell

    async def mend() -> None:
        shop.ahead += timedelta(minutes=36)
        await sweep_until_quiet(shop)
        async with life(shop, Fate(None, after=False)) as service:
            row = await service.queries.image(session_id)
            async with service.fulfilment.paid_images.objects.open(row.image_key or "") as stored:
                assert await stored.read() == picture()
            assert (row.state, row.image_state, row.hold_until, row.next_check_at) == ("paid", "promoted", None, None)
        assert not await shop.is_held(image_id, session_id)

    await die_everywhere(shop, begin, mend)


async def test_an_expiry_lets_the_image_go_after_any_crash(quiet_shop: Shop) -> None:
    shop = quiet_shop
    image_id = session_id = ""

    async def begin() -> Work:
        nonlocal image_id, session_id
        image_id = await shop.upload()
        async with life(shop, Fate(None, after=False)) as service:
            row = await service.opener.open(cart(), image_id=image_id)
        session_id = row.session_id or ""
        shop.ahead += timedelta(minutes=36)
        return lambda service: service.sweeper.sweep()

    async def mend() -> None:
        await sweep_until_quiet(shop)
        async with life(shop, Fate(None, after=False)) as service:
            row = await service.queries.status(session_id, None)
        assert (row.state, row.image_state, row.hold_until, row.next_check_at) == ("expired", "released", None, None)
        assert not await shop.is_held(image_id, session_id)

    await die_everywhere(shop, begin, mend)


async def test_an_order_is_sold_and_moved_once_after_any_crash(quiet_shop: Shop) -> None:
    shop = quiet_shop
    number = 0

    async def begin() -> Work:
        nonlocal number
        number += 1
        order_id = shop.book.add(f"order_{number}")

        async def sell(service: CheckoutService) -> None:
            row = await service.opener.open(order_cart(), order_id=order_id, user_id="ann")
            await shop.press(row.session_id or "")
            await service.queries.status(row.session_id or "", "ann")
            await service.sweeper.sweep()

        return sell

    async def mend() -> None:
        order_id = f"order_{number}"
        async with life(shop, Fate(None, after=False)) as service:
            with suppress(Conflict):  # paid already
                row = await service.opener.open(order_cart(), order_id=order_id, user_id="ann")
                await shop.press(row.session_id or "")
                await service.queries.status(row.session_id or "", "ann")
        await sweep_until_quiet(shop)
        assert shop.book.status_of(order_id) == "paid"
        sessions = [s for s in shop.ledger.store.select("checkout.session") if s["metadata"]["order_id"] == order_id]
        assert [session["payment_status"] for session in sessions] == ["paid"]

    await die_everywhere(shop, begin, mend)


async def test_a_refund_is_made_once_after_any_crash(quiet_shop: Shop) -> None:
    shop = quiet_shop
    session_id = ""

    async def begin() -> Work:
        nonlocal session_id
        async with life(shop, Fate(None, after=False)) as service:
            session_id = (await service.opener.open(cart())).session_id or ""
            await shop.press(session_id)
            await service.queries.status(session_id, None)
        return refund

    async def refund(service: CheckoutService) -> None:
        reason = "requested_by_customer"
        row, made = await service.refunds.refund(session_id=session_id, order_id=None, amount=50, reason=reason)
        assert (row.refunded_amount, made.amount, made.status) == (50, 50, "succeeded")

    async def mend() -> None:
        async with life(shop, Fate(None, after=False)) as service:
            await refund(service)
            row = await service.queries.status(session_id, None)
        made = [found for found in shop.ledger.store.select("refund") if found["payment_intent"] == row.payment_intent]
        assert [found["amount"] for found in made] == [50]

    await die_everywhere(shop, begin, mend)


@pytest.mark.parametrize(
    ("action", "quiet_shop"),
    [("fulfil", "sqlite"), ("refund", "sqlite"), ("fulfil", "postgres"), ("refund", "postgres")],
    indirect=["quiet_shop"],
)
async def test_a_decision_is_carried_out_once_after_any_crash(action: str, quiet_shop: Shop) -> None:
    shop = quiet_shop
    image_id = session_id = ""

    async def begin() -> Work:
        nonlocal image_id, session_id
        image_id = await shop.upload()
        async with life(shop, Fate(None, after=False)) as service:
            session_id = (await service.opener.open(cart(), image_id=image_id)).session_id or ""
            await shop.press(session_id)
            session = shop.ledger.require("checkout.session", session_id)
            shop.ledger.store.put(session | {"amount_total": 150})  # of 200
            row = await service.queries.status(session_id, None)
            assert row.needs_review
        return decide

    async def decide(service: CheckoutService) -> None:
        await service.review.resolve(session_id, Action(action), note="", by="admin")

    async def mend() -> None:
        async with life(shop, Fate(None, after=False)) as service:
            with suppress(Conflict):  # it was decided before the crash, and is not decided again
                await decide(service)
        await sweep_until_quiet(shop)
        async with life(shop, Fate(None, after=False)) as service:
            page = await service.review.page(None, None, 1)
        (row,) = page.rows
        assert row.session_id == session_id
        assert [one.action for one in page.resolutions[row.id]] == [action]
        made = [one["amount"] for one in shop.ledger.store.select("refund", payment_intent=row.payment_intent)]
        expected = ("paid", "promoted", []) if action == "fulfil" else ("refunded", "released", [150])
        assert (row.state, row.image_state, made) == expected
        assert row.hold_until is None
        assert not await shop.is_held(image_id, session_id)

    await die_everywhere(shop, begin, mend)


async def test_a_life_that_nothing_ends_comes_to_its_end(quiet_shop: Shop) -> None:
    done, calls = await live(quiet_shop, lambda service: service.opener.open(cart()))
    assert done
    assert calls > 1
    with pytest.raises(KeepsakeError):
        async with life(quiet_shop, Fate(None, after=False)) as service:
            await service.queries.status("cs_test_x", None)
