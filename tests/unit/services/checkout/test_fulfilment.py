from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from tests.support import pictures
from tests.unit.services.checkout.shop import WEBHOOK_SECRET, Shop, picture

COMPLETED = "checkout.session.completed"


def signed(
    event: dict[str, Any] | bytes, *, secret: str = WEBHOOK_SECRET, at_s: float | None = None
) -> tuple[bytes, str]:
    payload = event if isinstance(event, bytes) else json.dumps(event).encode()
    stamp = int(time.time() if at_s is None else at_s)
    digest = hmac.new(secret.encode(), b"%d.%b" % (stamp, payload), hashlib.sha256).hexdigest()
    return payload, f"t={stamp},v1={digest}"


async def paid(shop: Shop, *, passing: bool = False, method: str = "card") -> tuple[str, str]:
    """Pay for an image; return the image's id and the session's. Events are kept back unless `passing`."""
    shop.postman.passing = passing
    image_id = await shop.upload()
    session_id = await shop.session({"imageId": image_id})
    assert await shop.press(session_id, "pay", method=method) == 303
    return image_id, session_id


async def is_promoted(shop: Shop, image_id: str, session_id: str) -> bool:
    row = await shop.row(session_id)
    done = row.image_state == "promoted" and row.hold_until is None
    return (
        done
        and [path.read_bytes() for path in shop.promoted()] == [picture()]
        and not await shop.is_held(image_id, session_id)
    )


@pytest.mark.parametrize("whole", [True, False])
async def test_a_phones_photo_is_kept_as_a_jpeg_and_one_that_nobody_can_decode_as_it_was_sent(
    shop: Shop,
    whole: bool,  # noqa: FBT001 - pytest gives it by name
) -> None:
    sent = pictures.avif()
    if not whole:  # its boxes and headers are in order, and its pixels are not
        sent = sent[:-110] + b"\xff" * 8 + sent[-102:]
    image_id = await shop.upload(sent)
    session_id = await shop.session({"imageId": image_id})
    await shop.press(session_id, "pay", method="card")
    await shop.status(session_id)
    [kept] = [path.read_bytes() for path in shop.promoted()]
    assert (kept[:3] == b"\xff\xd8\xff") is whole
    assert whole or kept == sent
    assert await shop.image(session_id) == (200, kept)
    assert await shop.retrieve(image_id) == (200, sent)  # the temporary image stays byte for byte


async def test_the_webhook_alone_fulfils(shop: Shop) -> None:
    image_id, session_id = await paid(shop, passing=True)
    await shop.until(lambda: is_promoted(shop, image_id, session_id))
    assert (await shop.retrieve(image_id))[0] == 200


async def test_the_landing_page_alone_fulfils(shop: Shop) -> None:
    image_id, session_id = await paid(shop)
    await shop.status(session_id)
    assert await is_promoted(shop, image_id, session_id)


async def test_the_sweeper_alone_fulfils_a_payment_of_which_nobody_told(shop: Shop) -> None:
    image_id, session_id = await paid(shop)
    await shop.service.sweeper.sweep()
    assert (await shop.row(session_id)).state == "open"
    shop.ahead += timedelta(minutes=36)
    await shop.service.sweeper.sweep()
    await shop.until(lambda: is_promoted(shop, image_id, session_id))


async def test_everybody_at_once_fulfils_once(shop: Shop) -> None:
    image_id, session_id = await paid(shop)
    (event,) = await shop.postman.wait_for(COMPLETED)
    written: list[str] = []
    put = shop.objects.put_bytes

    async def counting(key: str, data: bytes, content_type: str) -> None:
        written.append(key)
        await put(key, data, content_type)

    shop.objects.put_bytes = counting
    brought, answers = await asyncio.gather(
        asyncio.gather(*(shop.postman.bring(event) for _ in range(25))),
        asyncio.gather(*(shop.status(session_id) for _ in range(25))),
    )
    assert brought == [200] * 25
    assert {(status, seen["payment_status"], seen["image"]["state"]) for status, seen in answers} == {
        (200, "paid", "promoted")
    }
    assert len(written) == 1
    assert await is_promoted(shop, image_id, session_id)


async def test_events_may_come_twice_in_any_order_and_late(shop: Shop) -> None:
    image_id, session_id = await paid(shop)
    await shop.postman.wait_for(COMPLETED)
    await asyncio.sleep(0)
    shop.ahead += timedelta(minutes=90)  # past the image's hour and the session's time
    for event in [*reversed(shop.postman.events), *shop.postman.events]:
        assert await shop.postman.bring(event) == 200
    assert await is_promoted(shop, image_id, session_id)
    assert len(shop.charges()) == 1
    assert (await shop.status(session_id))[1]["status"] == "complete"


async def test_an_event_of_expiry_after_the_payment_changes_nothing(shop: Shop) -> None:
    image_id, session_id = await paid(shop)
    await shop.status(session_id)
    ((payload, _),) = await shop.postman.wait_for(COMPLETED)
    forged = json.loads(payload) | {"id": "evt_late", "type": "checkout.session.expired"}
    forged["data"]["object"] |= {"status": "expired", "payment_status": "unpaid"}
    assert await shop.postman.bring(signed(forged)) == 200
    assert await is_promoted(shop, image_id, session_id)


async def test_an_event_is_a_hint_and_not_a_proof(shop: Shop) -> None:
    shop.postman.passing = False
    image_id = await shop.upload()
    session_id = await shop.session({"imageId": image_id})
    thing = shop.ledger.require("checkout.session", session_id) | {"payment_status": "paid", "status": "complete"}
    event = {"id": "evt_lie", "object": "event", "type": COMPLETED, "data": {"object": thing}}
    assert await shop.postman.bring(signed(event)) == 200
    assert (await shop.status(session_id))[1]["status"] == "open"
    assert not shop.promoted()
    assert await shop.is_held(image_id, session_id)


async def test_what_is_not_signed_as_it_must_be_gets_one_sentence(shop: Shop) -> None:
    await paid(shop)
    ((payload, _),) = await shop.postman.wait_for(COMPLETED)
    now = time.time()
    good = signed(payload)[1]
    refused = [
        (payload, ""),
        (payload, "nonsense"),
        (payload, "t=,v1="),
        (payload, "t=1,v1=é"),
        (payload, good.replace("v1", "v0")),
        (payload + b" ", good),
        (payload, good.replace("t=", "t=1")),
        signed(payload, secret="whsec_other"),
        signed(payload, at_s=now - 400),
        signed(payload, at_s=now + 400),
        signed(b"\xff\xfe"),
    ]
    said = set()
    for body, signature in refused:
        async with shop.http.post(
            f"{shop.urls['checkout']}/api/checkout/webhook", data=body, headers={"Stripe-Signature": signature}
        ) as answer:
            assert answer.status == 400, (body[:40], signature)
            problem = await answer.json()
            said.add((problem["code"], problem["error"]))
    assert len(said) == 1
    assert await shop.postman.bring(signed(b"{}" + b" " * 2**20)) == 413
    assert (await shop.rows_of_events()) == []


async def test_a_signed_event_of_another_shape_is_taken_and_nothing_is_done(shop: Shop) -> None:
    thin = {"id": "evt_thin", "object": "v2.core.event", "type": "v1.billing.meter.error_report_triggered"}
    for payload in (
        json.dumps(thin | {"related_object": {"id": "mtr_1", "type": "billing.meter"}}).encode(),
        b'{"id": "evt_1", "type": "checkout.session.completed"}',
        b'{"id": "evt_1", "type": "checkout.session.completed", "data": {"object": null}}',
        b'{"id": "evt_1", "type": "checkout.session.completed", "data": {"object": {"metadata": [1]}}}',
        b'{"id": 5, "type": "x", "data": {"object": {}}}',
        b'{"id": ["evt_1"], "type": {}, "data": {"object": {}}}',
        b'{"id": "evt_\\u0000", "type": "x", "data": {"object": {}}}',
        b'{"id": "evt_1", "type": [], "data": {"object": {"id": "cs_test_1", "metadata": {"keepsake_row": "x"}}}}',
        b"[]",
        b"5",
        b"",
        b"no json",
        b"[" * 100_000,
    ):
        assert await shop.postman.bring(signed(payload)) == 200, payload[:60]
    assert (await shop.rows_of_events()) == []


async def test_a_secret_that_is_being_replaced_counts_and_so_does_a_clock_a_little_off(shop: Shop) -> None:
    image_id, session_id = await paid(shop)
    ((payload, _),) = await shop.postman.wait_for(COMPLETED)
    assert await shop.postman.bring(signed(payload, secret="whsec_second", at_s=time.time() + 200)) == 200
    assert await is_promoted(shop, image_id, session_id)


async def test_what_is_not_ours_is_taken_and_nothing_is_done(shop: Shop) -> None:
    _, session_id = await paid(shop)
    ((payload, _),) = await shop.postman.wait_for(COMPLETED)
    original = json.loads(payload)
    strangers = []
    for number, metadata in enumerate(
        ({}, None, {"keepsake_row": "x"}, {**original["data"]["object"]["metadata"], "keepsake_site": "http://other"})
    ):
        thing = original["data"]["object"] | {"id": f"cs_test_{number}", "metadata": metadata}
        strangers.append(original | {"id": f"evt_{number}", "data": {"object": thing}})
    strangers.append(original | {"id": "evt_account", "account": "acct_other"})
    strangers.append(original | {"id": "evt_type", "type": "customer.created"})
    refund = {"id": "re_x", "object": "refund", "payment_intent": "pi_x"}
    strangers.append(original | {"id": "evt_refund", "type": "refund.created", "data": {"object": refund}})
    for event in strangers:
        assert await shop.postman.bring(signed(event)) == 200, event["id"]
    assert (await shop.row(session_id)).state == "open"
    assert not shop.promoted()


async def test_a_session_of_ours_without_a_row_is_to_come_again(shop: Shop) -> None:
    await paid(shop)
    ((payload, _),) = await shop.postman.wait_for(COMPLETED)
    event = json.loads(payload)
    event["data"]["object"]["metadata"]["keepsake_row"] = "0" * 32
    assert await shop.postman.bring(signed(event | {"id": "evt_new"})) == 503
    assert await shop.postman.bring(signed(event | {"id": "evt_new"})) in {200, 503}


async def test_the_event_waits_while_stripe_or_the_images_are_away(shop: Shop) -> None:
    image_id, session_id = await paid(shop)
    (event,) = await shop.postman.wait_for(COMPLETED)
    await shop.stop("stripe")
    assert await shop.postman.bring(event) == 200
    assert (await shop.row(session_id)).state == "open"
    await shop.start("stripe")
    await shop.stop("temp-image")
    shop.ahead += timedelta(seconds=10)
    await shop.service.sweeper.sweep()
    row = await shop.row(session_id)
    assert (row.state, row.image_state) == ("paid", "held")
    assert (await shop.status(session_id))[1]["image"] == {"state": "held", "url": None}
    status, answer = await shop.image(session_id)
    assert (status, answer["code"]) == (503, "image_pending")
    await shop.start("temp-image")
    shop.ahead += timedelta(minutes=5)
    await shop.service.sweeper.sweep()
    await shop.until(lambda: is_promoted(shop, image_id, session_id))


async def test_stripe_out_of_reach_keeps_the_image_for_as_long_as_it_takes(shop: Shop) -> None:
    image_id, session_id = await paid(shop)
    await shop.stop("stripe")
    for pause_h in (0.6, 10, 10, 10):
        shop.ahead += timedelta(hours=pause_h)
        await shop.service.sweeper.sweep()
    await shop.start("stripe")
    shop.ahead += timedelta(minutes=30)
    await shop.service.sweeper.sweep()
    await shop.until(lambda: is_promoted(shop, image_id, session_id))


@pytest.mark.parametrize("jump_h", [-24, -2, 2])
async def test_a_clock_that_jumps_loses_no_paid_image(shop: Shop, jump_h: int) -> None:
    image_id, session_id = await paid(shop)
    shop.ahead += timedelta(hours=jump_h)
    assert (await shop.status(session_id))[0] == 200
    await shop.until(lambda: is_promoted(shop, image_id, session_id))
    shop.ahead -= timedelta(hours=jump_h)
    await shop.service.sweeper.sweep()
    assert await is_promoted(shop, image_id, session_id)


async def test_a_delayed_payment_is_fulfilled_when_the_money_comes(shop: Shop) -> None:
    image_id, session_id = await paid(shop, passing=True, method="delayed")
    await shop.until(lambda: shop.has_state(session_id, "processing"))
    seen = (await shop.status(session_id))[1]
    assert (seen["status"], seen["payment_status"], seen["image"]["state"]) == ("complete", "unpaid", "held")
    assert (await shop.image(session_id))[0] == 409
    assert (await shop.open({"imageId": image_id}))[1]["code"] == "payment_processing"
    shop.ahead += timedelta(minutes=36)
    await shop.service.sweeper.sweep()
    for _ in range(8):  # four days
        shop.ahead += timedelta(hours=12)
        await shop.service.sweeper.sweep()
    await shop.settle(session_id, "succeeded")
    await shop.until(lambda: is_promoted(shop, image_id, session_id))


async def test_a_delayed_payment_that_fails_lets_the_image_go(shop: Shop) -> None:
    image_id, session_id = await paid(shop, passing=True, method="delayed")
    await shop.until(lambda: shop.has_state(session_id, "processing"))
    await shop.settle(session_id, "failed")
    await shop.until(lambda: shop.has_state(session_id, "failed"))
    await shop.until(lambda: _not(shop.is_held(image_id, session_id)))
    assert (await shop.status(session_id))[1]["image"]["state"] == "released"
    assert not shop.promoted()
    assert await shop.session({"imageId": image_id}) != session_id


async def _not(found: Any) -> bool:
    return not await found


async def test_another_amount_than_was_asked_for_is_set_aside(shop: Shop) -> None:
    image_id, session_id = await paid(shop)
    shop.ledger.store.put(shop.ledger.require("checkout.session", session_id) | {"amount_total": 2})
    seen = (await shop.status(session_id))[1]
    assert (seen["status"], seen["amount_total"], seen["image"]["state"]) == ("complete", 2, "held")
    assert (await shop.row(session_id)).state == "needs_review"
    assert (await shop.image(session_id))[1]["code"] == "needs_review"
    shop.ahead += timedelta(minutes=36)
    await shop.service.sweeper.sweep()
    for _ in range(6):
        shop.ahead += timedelta(hours=12)
        await shop.service.sweeper.sweep()
    assert await shop.is_held(image_id, session_id)
    assert not shop.promoted()


async def test_a_client_that_leaves_does_not_stop_the_fulfilment(shop: Shop) -> None:
    image_id, session_id = await paid(shop)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.02)) as impatient:
        for _ in range(3):
            try:
                url = f"{shop.urls['checkout']}/api/checkout/session-status"
                async with impatient.get(url, params={"session_id": session_id}) as answer:
                    await answer.read()
            except TimeoutError:
                continue
    await shop.until(lambda: is_promoted(shop, image_id, session_id))


async def test_ids_are_never_logged_whole(shop: Shop, capfd: Any) -> None:
    image_id, session_id = await paid(shop, passing=True)
    await shop.until(lambda: is_promoted(shop, image_id, session_id))
    await shop.stop("stripe")
    await shop.open({"imageId": await shop.upload()})
    logged = "".join(capfd.readouterr())
    assert session_id not in logged
    assert image_id not in logged
