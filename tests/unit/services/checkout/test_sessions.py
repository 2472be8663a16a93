from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from stripe_sandbox.sessions import contents_of
from tests.unit.services.checkout.shop import PUBLIC_URL, Shop, picture


async def test_a_photo_is_sold_and_comes_back(shop: Shop) -> None:
    image_id = await shop.upload()
    status, opened = await shop.open({"imageId": image_id})
    assert status == 200
    assert opened["client_secret"].startswith(opened["session_id"] + "_secret_")
    assert opened["publishable_key"] == "pk_test_sandbox"
    session_id = opened["session_id"]
    status, seen = await shop.status(session_id)
    assert (status, seen) == (
        200,
        {
            "status": "open",
            "metadata": {"imageId": image_id},
            "payment_status": "unpaid",
            "amount_total": 200,
            "currency": "usd",
            "order_id": None,
            "image": {"state": "held", "url": None},
        },
    )
    assert await shop.press(session_id) == 303
    status, seen = await shop.status(session_id)
    assert (seen["status"], seen["payment_status"], seen["metadata"]) == ("complete", "paid", {"imageId": image_id})
    url = f"{PUBLIC_URL}/api/checkout/sessions/{session_id}/image"
    assert seen["image"] == {"state": "promoted", "url": url}
    assert await shop.image(session_id) == (200, picture())
    assert await shop.image(session_id) == (200, picture())
    assert await shop.retrieve(image_id) == (200, picture())
    assert (await shop.retrieve(image_id))[0] == 404
    assert await shop.image(session_id) == (200, picture())
    assert not await shop.is_held(image_id, session_id)


async def test_the_session_is_what_the_catalogue_and_the_settings_say(shop: Shop) -> None:
    image_id = await shop.upload()
    session_id = await shop.session({"imageId": image_id, "quantity": 3, "unknown": 1})
    session = shop.ledger.require("checkout.session", session_id)
    assert (session["amount_total"], session["currency"], session["ui_mode"]) == (600, "usd", "embedded_page")
    assert session["return_url"] == "http://localhost:3000/hero-me?session_id={CHECKOUT_SESSION_ID}"
    assert session["metadata"]["imageId"] == image_id
    assert abs(session["expires_at"] - shop.now().timestamp() - 2100) < 30
    await shop.press(session_id)
    intent = shop.ledger.require("payment_intent", session_id and shop.charges()[0]["payment_intent"])
    assert intent["metadata"]["imageId"] == image_id
    item = contents_of(shop.ledger, session_id)["lines"][0]
    assert item["description"] == "Hero Me Feelings - Personalized AAC Board"


async def test_the_same_image_and_cart_share_a_session_and_nothing_else_does(shop: Shop) -> None:
    image_id = await shop.upload()
    bodies: list[dict[str, Any]] = [{"imageId": image_id}] * 5
    bodies += [
        {"imageId": image_id, "quantity": 2},
        {"imageId": await shop.upload()},
    ]
    bodies += [{}, {"imageId": None}, {}]
    answers = await asyncio.gather(*(shop.open(body) for body in bodies))
    assert [status for status, _ in answers] == [200] * len(bodies), answers
    sessions = [answer["session_id"] for _, answer in answers]
    assert len(set(sessions[:5])) == 1
    assert len(set(sessions)) == 6
    assert len(shop.ledger.store.select("checkout.session")) == 6


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"price": 1}, 422, "price_not_allowed"),
    ({"imageId": "0" * 32, "unit_amount": 1}, 422, "price_not_allowed"),
    ({"cart": [{"deep": {"amount": None}}]}, 422, "price_not_allowed"),
    ({"price_data": {}}, 422, "price_not_allowed"),
    ({"return_url": "https://evil.test"}, 422, "price_not_allowed"),
    ({"sku": "nothing"}, 422, "unknown_sku"),
    ({"sku": "pet-planter"}, 422, "unknown_sku"),
    ({"quantity": 0}, 422, "quantity_not_allowed"),
    ({"quantity": 11}, 422, "quantity_not_allowed"),
    ({"quantity": -1}, 422, "quantity_not_allowed"),
    ({"quantity": 10**30}, 422, "quantity_not_allowed"),
    ({"quantity": "1"}, 422, "invalid_value"),
    ({"quantity": 1.5}, 422, "invalid_value"),
    ({"quantity": True}, 422, "invalid_value"),
    ({"currency": "eur"}, 422, "currency_not_allowed"),
    ({"currency": None}, 422, "invalid_value"),
    ({"imageId": 5}, 409, "image_unavailable"),
    ({"imageId": ["a"]}, 409, "image_unavailable"),
    ({"order_id": "o1", "imageId": "0" * 32}, 422, "order_and_image"),
    ({"order_id": "o1", "sku": "hero-me-board"}, 422, "order_and_image"),
    ({"imageId": "0" * 32}, 409, "image_unavailable"),
    ({"imageId": ""}, 409, "image_unavailable"),
    ({"imageId": "../../etc/passwd"}, 409, "image_unavailable"),
    ({"imageId": "A\x00\ud83d\ude00" * 500}, 409, "image_unavailable"),
    ({"order_id": "o1"}, 401, "unauthorized"),
]


async def test_what_is_not_sold_is_refused_before_stripe_is_asked(shop: Shop) -> None:
    for body, status, code in REFUSED:
        answer = await shop.open(body)
        assert (answer[0], answer[1]["code"]) == (status, code), body
    assert not shop.ledger.store.select("checkout.session")


async def test_a_body_that_is_no_object_is_unreadable(shop: Shop) -> None:
    headers = {"Content-Type": "application/json"}
    for body in (b"", b"[]", b"null", b"{", b'"\\ud800"', b'{"sku": "\\ud800"}', b"[" * 60_000):
        status, answer = await shop.call("POST", "/api/checkout/embedded-session", data=body, headers=headers)
        assert (status, answer["code"]) == (400, "invalid_json"), body


async def test_an_image_that_was_fetched_cannot_be_bought(shop: Shop) -> None:
    image_id = await shop.upload()
    await shop.retrieve(image_id)
    status, answer = await shop.open({"imageId": image_id})
    assert (status, answer["code"]) == (409, "image_unavailable")


async def test_a_held_image_outlives_its_hour_and_its_retrieval(shop: Shop) -> None:
    image_id = await shop.upload()
    session_id = await shop.session({"imageId": image_id})
    assert (await shop.retrieve(image_id))[0] == 200
    await shop.press(session_id)
    assert (await shop.status(session_id))[1]["image"]["state"] == "promoted"
    assert await shop.image(session_id) == (200, picture())


async def test_the_image_is_shown_for_a_day(shop: Shop) -> None:
    session_id = await shop.session({"imageId": await shop.upload()})
    status, answer = await shop.image(session_id)
    assert (status, answer["code"]) == (409, "not_paid")
    await shop.press(session_id)
    await shop.status(session_id)
    shop.ahead += timedelta(hours=23, minutes=50)
    assert (await shop.image(session_id))[0] == 200
    shop.ahead += timedelta(minutes=20)
    assert (await shop.image(session_id))[0] == 404
    assert (await shop.status(session_id))[1]["image"] == {"state": "promoted", "url": None}


async def test_a_session_without_image_has_none(shop: Shop) -> None:
    session_id = await shop.session({})
    await shop.press(session_id)
    assert (await shop.status(session_id))[1]["image"] is None
    assert (await shop.image(session_id))[0] == 404


async def test_the_status_of_what_is_no_session_of_ours(shop: Shop) -> None:
    for session_id in ("", "x", "cs_test_", "cs_live_a/b"):
        assert (await shop.status(session_id))[0] == 400
    for session_id in ("cs_test_unknown", "cs_live_unknown"):
        assert (await shop.status(session_id))[0] == 404


async def test_a_session_of_the_same_account_that_is_not_ours_is_not_found(shop: Shop) -> None:
    session_id = await shop.session({})
    stranger = shop.ledger.require("checkout.session", session_id) | {"id": "cs_test_stranger", "metadata": {}}
    shop.ledger.store.put(stranger)
    assert (await shop.status("cs_test_stranger"))[0] == 404
    assert (await shop.image("cs_test_stranger"))[0] == 404


async def test_a_session_that_ended_is_known_without_stripe(shop: Shop) -> None:
    image_id = await shop.upload()
    paid, open_one = await shop.session({"imageId": image_id}), await shop.session({})
    await shop.press(paid)
    await shop.status(paid)
    await shop.stop("stripe")
    assert (await shop.status(paid))[1]["payment_status"] == "paid"
    assert await shop.image(paid) == (200, picture())
    status, answer = await shop.status(open_one)
    assert (status, answer["code"]) == (503, "payment_provider_unavailable")
    status, answer = await shop.open({})
    assert (status, answer["code"]) == (503, "payment_provider_unavailable")
    await shop.start("stripe")
    assert (await shop.status(open_one))[1]["status"] == "open"


async def test_a_retry_goes_on_where_stripe_failed(shop: Shop) -> None:
    image_id = await shop.upload()
    await shop.stop("stripe")
    assert (await shop.open({"imageId": image_id}))[0] == 503
    await shop.start("stripe")
    session_id = await shop.session({"imageId": image_id})
    assert await shop.session({"imageId": image_id}) == session_id
    assert len(shop.ledger.store.select("checkout.session")) == 1


async def test_of_fifty_at_once_all_get_one_session(shop: Shop) -> None:
    image_id = await shop.upload()
    answers = await asyncio.gather(*(shop.open({"imageId": image_id}) for _ in range(50)))
    assert {status for status, _ in answers} == {200}
    assert len({answer["client_secret"] for _, answer in answers}) == 1
    assert len(shop.ledger.store.select("checkout.session")) == 1


async def test_a_session_that_stripe_does_not_know_any_more_is_not_given_out_again(shop: Shop) -> None:
    image_id = await shop.upload()
    first = await shop.session({"imageId": image_id})
    shop.ledger.store._db.execute("DELETE FROM objects WHERE id = ?", (first,))
    second = await shop.session({"imageId": image_id})
    assert second != first
    assert await shop.session({"imageId": image_id}) == second
    assert await shop.is_held(image_id, second)


async def test_an_expired_session_is_followed_by_a_new_one_and_lets_its_image_go(shop: Shop) -> None:
    image_id = await shop.upload()
    first = await shop.session({"imageId": image_id})
    shop.ahead += timedelta(minutes=36)
    second = await shop.session({"imageId": image_id})
    assert first != second
    assert (await shop.status(first))[1]["status"] == "expired"
    assert (await shop.status(first))[1]["image"]["state"] == "released"
    assert await shop.is_held(image_id, second)
    assert not await shop.is_held(image_id, first)


async def test_a_declined_or_cancelled_payment_leaves_the_session_open(shop: Shop) -> None:
    image_id = await shop.upload()
    session_id = await shop.session({"imageId": image_id})
    await shop.press(session_id, "decline")
    await shop.press(session_id, "cancel")
    assert (await shop.status(session_id))[1]["status"] == "open"
    assert await shop.session({"imageId": image_id}) == session_id
    await shop.press(session_id)
    assert (await shop.status(session_id))[1]["payment_status"] == "paid"
