from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from aiohttp import web

from services.checkout.adapters.toml import BUILT_IN, CatalogueInvalid, read_catalogue
from tests.unit.services.checkout.conftest import StartShop
from tests.unit.services.checkout.shop import Shop, Trouble, picture

ERROR = {"error": {"message": "An unknown error occurred", "type": "api_error"}}


def failing(times: int, status: int = 500, **headers: str) -> Trouble:
    """Fail so many times, then be well again."""
    left = times

    async def trouble(request: web.Request) -> web.Response | None:
        nonlocal left
        left -= 1
        return web.json_response(ERROR, status=status, headers=headers) if left >= 0 else None

    return trouble


def losing(times: int) -> Trouble:
    """Do what is asked, and lose the answer so many times: that is seen from outside as a connection that ended."""
    left = times

    async def trouble(request: web.Request) -> web.Response | None:
        nonlocal left
        left -= 1
        if left >= 0 and request.transport is not None:
            request.transport.abort()
        return None

    return trouble


async def create_and_pay(shop: Shop) -> tuple[str, str]:
    image_id = await shop.upload()
    session_id = await shop.session({"imageId": image_id})
    await shop.press(session_id)
    assert (await shop.status(session_id))[1]["image"]["state"] == "promoted"
    assert await shop.image(session_id) == (200, picture())
    assert len(shop.charges()) == 1
    return image_id, session_id


async def test_a_passing_failure_is_not_seen(shop: Shop) -> None:
    for number, trouble in enumerate((failing(2), failing(1, 409), failing(1, 429, **{"Stripe-Should-Retry": "true"}))):
        shop.trouble = trouble
        assert (await shop.open({}))[0] == 200, number
    shop.trouble = losing(1)
    image_id = await shop.upload()
    shop.asked.clear()
    first = await shop.session({"imageId": image_id})
    keys = {key for method, path, key in shop.asked if (method, path) == ("POST", "/v1/checkout/sessions")}
    assert len(keys) == 1
    assert await shop.session({"imageId": image_id}) == first


@pytest.mark.parametrize(
    ("trouble", "status"),
    [
        (failing(99), 503),
        (failing(99, 409), 503),
        (failing(99, 429), 503),
        (failing(99, 401), 502),
        (failing(99, 400), 502),
    ],
)
async def test_a_lasting_failure_leaves_nothing_half_done(start_shop: StartShop, trouble: Trouble, status: int) -> None:
    shop = await start_shop()
    image_id = await shop.upload()
    shop.trouble = trouble
    answer = await shop.open({"imageId": image_id})
    assert (answer[0], answer[1]["code"]) == (status, "payment_provider_unavailable")
    shop.trouble = None
    session_id = await shop.session({"imageId": image_id})
    assert len(shop.ledger.store.select("checkout.session")) == 1
    await shop.press(session_id)
    await shop.status(session_id)
    assert await shop.image(session_id) == (200, picture())


async def test_a_remembered_failure_is_overcome_with_another_key(shop: Shop) -> None:
    shop.remembered_trouble = failing(1)
    image_id = await shop.upload()
    session_id = await shop.session({"imageId": image_id})
    keys = [key for method, path, key in shop.asked if (method, path) == ("POST", "/v1/checkout/sessions")]
    assert len(set(keys)) == 2
    assert (await shop.row(session_id)).attempt == 1
    await shop.press(session_id)
    await shop.status(session_id)
    shop.remembered_trouble = failing(1)
    status, refund = await shop.call("POST", "/api/checkout/refunds", json={"session_id": session_id}, user="admin")
    assert (status, refund["amount"]) == (200, 200)
    assert len(shop.ledger.store.select("refund")) == 1


async def test_stripe_that_hangs_is_given_up_in_time_and_taken_up_again(start_shop: StartShop) -> None:
    shop = await start_shop()
    image_id = await shop.upload()

    async def hang(request: web.Request) -> web.Response | None:
        await asyncio.sleep(60)
        return None

    shop.trouble = hang
    started = time.monotonic()
    answers = await asyncio.gather(shop.open({"imageId": image_id}), shop.open({}))
    assert time.monotonic() - started < 30  # far from the minute it would take
    assert {(status, answer["code"]) for status, answer in answers} == {(503, "payment_provider_unavailable")}
    shop.trouble = None
    await shop.session({"imageId": image_id})
    assert len(shop.ledger.store.select("checkout.session")) == 1


async def test_an_answer_that_is_none_of_stripes_is_no_answer(shop: Shop) -> None:
    async def confuse(request: web.Request) -> web.Response | None:
        return web.Response(text=next(nonsense), content_type="application/json")

    nonsense = iter(("<html>", "[]", "null", "{}", json.dumps({"id": 5})))
    shop.trouble = confuse
    for _ in range(5):
        status, answer = await shop.open({})
        assert (status, answer["code"]) in {
            (503, "payment_provider_unavailable"),
            (502, "payment_provider_unavailable"),
        }


CATALOGUE = """
[[product]]
sku = "hero-me-board"
name = "Board"
description = "A board"
max_quantity = 3
for = "image"
[product.prices]
usd = 200
jpy = 300
kwd = 1500

[[product]]
sku = "pet-planter"
name = "Planter"
max_quantity = 1
for = "order"
[product.prices]
eur = 4500
"""


async def test_currencies_without_and_with_three_decimals_are_right(start_shop: StartShop, tmp_path: Path) -> None:
    file = tmp_path / "catalogue.toml"
    file.write_text(CATALOGUE)
    shop = await start_shop(catalogue_file=file)
    for currency, amount in (("jpy", 600), ("kwd", 3000), ("USD", 400)):
        image_id = await shop.upload()
        session_id = await shop.session({"imageId": image_id, "currency": currency, "quantity": 2})
        session = shop.ledger.require("checkout.session", session_id)
        assert (session["amount_total"], session["currency"]) == (amount, currency.lower())
        await shop.press(session_id)
        seen = (await shop.status(session_id))[1]
        assert (seen["amount_total"], seen["currency"], seen["image"]["state"]) == (
            amount,
            currency.lower(),
            "promoted",
        )
        step = 10 if currency == "kwd" else 1
        for part, status in ((step, 200), (amount, 422), (amount - step, 200)):
            body = {"session_id": session_id, "amount": part}
            assert (await shop.call("POST", "/api/checkout/refunds", json=body, user="admin"))[0] == status
    session_id = await shop.session({"currency": "kwd"})
    await shop.press(session_id)
    body = {"session_id": session_id, "amount": 1005}
    status, answer = await shop.call("POST", "/api/checkout/refunds", json=body, user="admin")
    assert (status, answer["code"]) == (422, "amount_not_allowed")
    assert (await shop.open({"currency": "eur"}))[1]["code"] == "currency_not_allowed"
    assert (await shop.open({"quantity": 4}))[1]["code"] == "quantity_not_allowed"
    shop.book.add("o1")
    assert (await shop.open({"order_id": "o1"}, user="ann"))[1]["code"] == "currency_not_allowed"
    session_id = await shop.session({"order_id": "o1", "currency": "eur"}, user="ann")
    assert shop.ledger.require("checkout.session", session_id)["amount_total"] == 4500


def test_a_catalogue_that_cannot_be_sold_from_is_refused_with_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.toml"
    changes: list[tuple[str, str]] = [
        ("usd = 200", "usd = 2.00"),
        ("usd = 200", "usd = 0"),
        ("usd = 200", 'usd = "200"'),
        ("usd = 200", "USD = 200"),
        ("usd = 200", "usd = 99999999"),
        ("kwd = 1500", "kwd = 1505"),
        ("eur = 4500", ""),
        ('sku = "pet-planter"', 'sku = "hero-me-board"'),
        ('sku = "pet-planter"', ""),
        ('for = "order"', 'for = "nothing"'),
        ("max_quantity = 1", "max_quantity = 0"),
        ("max_quantity = 1", "max_quantity = 1\nprize = 3"),
        ("[[product]]", "[[product"),
        (CATALOGUE, ""),
    ]
    for before, after in changes:
        file.write_text(CATALOGUE.replace(before, after))
        with pytest.raises(CatalogueInvalid):
            read_catalogue(file)
    with pytest.raises(CatalogueInvalid):
        read_catalogue(tmp_path / "missing.toml")
    file.write_text(CATALOGUE)
    assert set(read_catalogue(file).products) == {"hero-me-board", "pet-planter"}
    assert read_catalogue(None) is BUILT_IN


async def test_the_first_product_stands_in_where_the_default_is_not_sold(start_shop: StartShop, tmp_path: Path) -> None:
    file = tmp_path / "catalogue.toml"
    file.write_text(CATALOGUE.replace("hero-me-board", "poster"))
    shop = await start_shop(catalogue_file=file)
    session_id = await shop.session({})
    assert (await shop.row(session_id)).sku == "poster"
