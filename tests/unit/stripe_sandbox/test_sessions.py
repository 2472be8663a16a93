from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest
import stripe

from stripe_sandbox.currencies import format_amount
from tests.support.stripe_sandbox import RETURN_URL, Sandbox, line_item

SESSIONS = "/v1/checkout/sessions"
FORM = (
    "mode=payment&ui_mode=embedded_page&return_url=http://localhost:3000/&line_items[0][quantity]=1"
    "&line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=200"
    "&line_items[0][price_data][product_data][name]=Board"
)


async def refusal(sandbox: Sandbox, **changes: Any) -> tuple[str | None, str | None]:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await sandbox.create(**changes)
    assert refused.value.http_status == 400
    return refused.value.code, refused.value.param


async def test_an_embedded_session_is_open_and_carries_what_was_asked(sandbox: Sandbox) -> None:
    expires_at = int(time.time()) + 2100
    session = await sandbox.create(expires_at=expires_at)
    assert session.id.startswith("cs_test_")
    assert session.client_secret.startswith(f"{session.id}_secret_")
    assert (session.status, session.payment_status, session.payment_intent, session.url) == (
        "open",
        "unpaid",
        None,
        None,
    )
    assert (session.amount_total, session.currency, session.expires_at) == (200, "usd", expires_at)
    assert session.metadata.to_dict() == {"imageId": "0123456789abcdef0123456789abcdef"}
    assert session.livemode is False
    lines = await sandbox.client.v1.checkout.sessions.line_items.list_async(session.id)
    assert [(item.description, item.quantity) for item in lines.data] == [("A board", 1)]


async def test_a_hosted_session_has_the_address_of_its_page(sandbox: Sandbox) -> None:
    session = await sandbox.create(ui_mode="hosted_page", return_url=None, success_url="https://shop.example/done")
    assert session.url == f"{sandbox.url}/pay/{session.id}"
    assert session.client_secret is None


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"ui_mode": "embedded"}, None, "ui_mode"),
        ({"mode": None}, "parameter_missing", "mode"),
        ({"mode": "subscription"}, None, "mode"),
        ({"surprise": "1"}, "parameter_unknown", "surprise"),
        ({"payment_method_types": ["card"]}, "parameter_unknown", "payment_method_types"),
        ({"return_url": None}, "parameter_missing", "return_url"),
        ({"return_url": "/relative"}, "url_invalid", "return_url"),
        ({"return_url": "javascript:alert(1)"}, "url_invalid", "return_url"),
        ({"return_url": "https://shop.example/ x"}, "url_invalid", "return_url"),
        ({"redirect_on_completion": "never"}, None, "redirect_on_completion"),
        ({"success_url": RETURN_URL}, None, "success_url"),
        ({"cancel_url": RETURN_URL}, None, "cancel_url"),
        ({"ui_mode": "hosted_page", "return_url": None}, "parameter_missing", "success_url"),
        ({"ui_mode": "hosted_page", "success_url": RETURN_URL}, None, "return_url"),
        ({"line_items": None}, "parameter_missing", "line_items"),
        ({"line_items": [line_item()] * 101}, None, "line_items"),
        ({"line_items": [line_item(quantity=0)]}, "parameter_invalid_integer", "line_items[0][quantity]"),
        ({"line_items": [line_item(49)]}, "amount_too_small", None),
        ({"line_items": [line_item(0)]}, "amount_too_small", None),
        ({"line_items": [line_item(-1)]}, "parameter_invalid_integer", "line_items[0][price_data][unit_amount]"),
        ({"line_items": [line_item(100_000_000)]}, "amount_too_large", "line_items[0][price_data][unit_amount]"),
        ({"line_items": [line_item(99_999_999, quantity=2)]}, "amount_too_large", None),
        (
            {"line_items": [line_item(1005, "kwd")]},
            "parameter_invalid_integer",
            "line_items[0][price_data][unit_amount]",
        ),
        ({"line_items": [line_item(29, "gbp")]}, "amount_too_small", None),
        ({"line_items": [line_item(200, "x1")]}, None, "line_items[0][price_data][currency]"),
        ({"line_items": [line_item(), line_item(200, "eur")]}, None, "line_items[1][price_data][currency]"),
        ({"line_items": [{"price": "price_1", "quantity": 1}]}, None, "line_items[0][price]"),
        ({"line_items": [{"price_data": line_item()["price_data"]}]}, "parameter_missing", "line_items[0][quantity]"),
        ({"line_items": [{"quantity": 1}]}, "parameter_missing", "line_items[0][price_data]"),
        ({"metadata": {f"k{n}": "v" for n in range(51)}}, None, "metadata"),
        ({"metadata": {"k" * 41: "v"}}, None, "metadata"),
        ({"metadata": {"k": "v" * 501}}, None, "metadata"),
        ({"metadata": {"k[x]": "v"}}, None, "metadata"),
        ({"metadata": {"k": {"x": "v"}}}, None, "metadata"),
        ({"payment_intent_data": {"metadata": {"k": "v" * 501}}}, None, "payment_intent_data[metadata]"),
        (
            {"payment_intent_data": {"statement_descriptor": "x"}},
            None,
            "payment_intent_data[statement_descriptor]",
        ),
        ({"expires_at": "soon"}, "parameter_invalid_integer", "expires_at"),
        ({"customer": "cus_1"}, None, "customer"),
        ({"client_reference_id": ""}, "parameter_invalid_empty", "client_reference_id"),
        ({"client_reference_id": "x" * 201}, None, "client_reference_id"),
        ({"expand": ["line_items"]}, None, "expand"),
    ],
)
async def test_what_stripe_refuses_is_refused(
    sandbox: Sandbox, changes: dict[str, Any], code: str | None, param: str | None
) -> None:
    assert await refusal(sandbox, **changes) == (code, param)
    assert (await sandbox.client.v1.checkout.sessions.list_async()).data == []


@pytest.mark.parametrize(
    ("data", "param"),
    [
        ({"product_data": {"name": "x" * 251}}, "[product_data][name]"),
        ({"product_data": {"name": "x", "description": "d" * 40_001}}, "[product_data][description]"),
        ({"product_data": {"description": "d"}}, "[product_data][name]"),
        ({"product_data": {"name": "x"}, "product": "prod_1"}, "[product]"),
        ({}, "[product_data]"),
        ({"product": "prod_1"}, "[product]"),
        ({"product_data": {"name": "x"}, "unit_amount_decimal": "1.5"}, "[unit_amount_decimal]"),
        ({"product_data": {"name": "x"}, "recurring": {"interval": "month"}}, "[recurring]"),
    ],
)
async def test_what_stripe_refuses_in_a_line_is_refused(sandbox: Sandbox, data: dict[str, Any], param: str) -> None:
    line = {"quantity": 1, "price_data": {"currency": "usd", "unit_amount": 200, **data}}
    assert (await refusal(sandbox, line_items=[line]))[1] == f"line_items[0][price_data]{param}"


@pytest.mark.parametrize(("seconds", "taken"), [(1700, False), (1830, True), (86_390, True), (86_500, False)])
async def test_a_session_ends_between_half_an_hour_and_a_day_later(sandbox: Sandbox, seconds: int, taken: bool) -> None:  # noqa: FBT001 - a column of the table
    expires_at = int(time.time()) + seconds
    if taken:
        assert (await sandbox.create(expires_at=expires_at)).expires_at == expires_at
    else:
        assert await refusal(sandbox, expires_at=expires_at) == (None, "expires_at")


async def test_the_limits_themselves_are_allowed(sandbox: Sandbox) -> None:
    metadata = {f"{n:040}": "ü" * 500 for n in range(50)}
    lines = [line_item(99_999_999), *[line_item(0)] * 99]
    session = await sandbox.create(metadata=metadata, line_items=lines)
    assert session.metadata.to_dict() == metadata
    listed = await sandbox.client.v1.checkout.sessions.line_items.list_async(session.id, {"limit": 100})
    assert [item.amount_total for item in listed.data] == [99_999_999, *[0] * 99]


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [(200, "usd", "2.00 USD"), (5, "eur", "0.05 EUR"), (1500, "jpy", "1,500 JPY"), (1500, "kwd", "1.500 KWD")],
)
def test_amounts_are_written_with_the_decimals_of_their_currency(amount: int, currency: str, written: str) -> None:
    assert format_amount(amount, currency) == written


async def test_without_a_test_key_nothing_is_answered(sandbox: Sandbox) -> None:
    for authorization in (
        "",
        "Bearer",
        "Bearer sk_live_1",
        "Bearer pk_test_1",
        "Basic !",
        "Digest x",
        "Bearer nonsense",
    ):
        status, body, headers = await sandbox.call("GET", SESSIONS, Authorization=authorization)
        assert (status, body["error"]["type"]) == (401, "invalid_request_error")
        assert headers["Request-Id"].startswith("req_")
    assert (await sandbox.call("GET", SESSIONS))[0] == 200


async def test_another_api_version_is_refused(sandbox: Sandbox) -> None:
    assert (await sandbox.call("GET", SESSIONS, **{"Stripe-Version": "2020-08-27"}))[0] == 400
    status, _, headers = await sandbox.call("GET", SESSIONS, **{"Stripe-Version": stripe.api_version})
    assert (status, headers["Stripe-Version"]) == (200, stripe.api_version)


@pytest.mark.parametrize(
    "form",
    [
        "mode",
        "mode=%ff",
        "mode=pay%00ment",
        "mode=payment&mode=payment",
        "mode=payment&mode[x]=1",
        "line_items=1",
        "line_items[x][quantity]=1",
        "metadata=1",
        "[a]=1",
        "a[b]c=1",
        "line_items[][quantity]=1&line_items[][quantity]=1",
        "metadata" + "[a]" * 20 + "=1",
        "&".join(f"metadata[{n}]=1" for n in range(1001)),
        "expires_at=" + "9" * 40,
        quote("mode=payment"),
    ],
)
async def test_hostile_forms_are_refused_in_stripes_format(sandbox: Sandbox, form: str) -> None:
    status, body, _ = await sandbox.call("POST", SESSIONS, form)
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")


async def test_bodies_that_are_no_form_or_too_large_are_refused(sandbox: Sandbox) -> None:
    assert (await sandbox.call("POST", SESSIONS, "{}", **{"Content-Type": "application/json"}))[0] == 400
    assert (await sandbox.call("POST", SESSIONS, "mode=" + "x" * 600_000))[0] == 413
    assert (await sandbox.call("POST", SESSIONS, FORM))[0] == 200


async def test_unknown_ids_and_paths_are_missing(sandbox: Sandbox) -> None:
    for path, param in (
        (f"{SESSIONS}/cs_test_1", "session"),
        (f"{SESSIONS}/cs_test_1/line_items", "session"),
        ("/v1/payment_intents/pi_1", "intent"),
        ("/v1/disputes/du_1", "id"),
    ):
        status, body, _ = await sandbox.call("GET", path)
        assert (status, body["error"]["code"], body["error"]["param"]) == (404, "resource_missing", param)
    session = await sandbox.create()
    assert (await sandbox.call("GET", f"/v1/disputes/{session.id}"))[0] == 404
    for method, path in (("GET", "/v1/customers"), ("DELETE", SESSIONS)):
        status, body, _ = await sandbox.call(method, path)
        assert (status, body["error"]["type"]) == (404, "invalid_request_error")


async def test_lists_are_paged_newest_first(sandbox: Sandbox) -> None:
    made = [(await sandbox.create()).id for _ in range(5)][::-1]
    sessions = sandbox.client.v1.checkout.sessions

    async def page(**params: Any) -> tuple[list[str], bool]:
        found = await sessions.list_async(params)
        return [session.id for session in found.data], found.has_more

    assert await page(limit=2) == (made[:2], True)
    assert await page(limit=2, starting_after=made[1]) == (made[2:4], True)
    assert await page(limit=2, starting_after=made[3]) == (made[4:], False)
    assert await page(created={"gte": int(time.time()) + 60}) == ([], False)
    assert [session.id async for session in (await sessions.list_async({"limit": 2})).auto_paging_iter()] == made
    for wrong in ({"limit": 0}, {"limit": 101}, {"starting_after": "cs_test_1"}, {"status": "open"}):
        with pytest.raises(stripe.InvalidRequestError):
            await sessions.list_async(wrong)


async def test_an_open_session_is_expired_once(sandbox: Sandbox) -> None:
    session = await sandbox.create()
    expired = await sandbox.client.v1.checkout.sessions.expire_async(session.id)
    assert expired.status == "expired"
    with pytest.raises(stripe.InvalidRequestError):
        await sandbox.client.v1.checkout.sessions.expire_async(session.id)
    await sandbox.receiver.wait_for("checkout.session.expired")


async def test_a_session_expires_by_itself_and_says_so(sandbox: Sandbox) -> None:
    session = await sandbox.create(expires_at=int(time.time()) + 1860)
    sandbox.clock.ahead_s = 1861
    event = await sandbox.receiver.wait_for("checkout.session.expired")
    assert event.data.object["id"] == session.id
    assert event.request.id is None
    found = await sandbox.client.v1.checkout.sessions.retrieve_async(session.id)
    assert found.status == "expired"
