from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import stripe
from pydantic import ValidationError

from stripe_sandbox.settings import SandboxSettings
from tests.support.stack import ROOT, running_stack
from tests.support.stripe_sandbox import Sandbox

FORM = {
    "mode": "payment",
    "ui_mode": "embedded_page",
    "return_url": "http://localhost:3000/",
    "line_items[0][quantity]": "1",
    "line_items[0][price_data][currency]": "usd",
    "line_items[0][price_data][unit_amount]": "200",
    "line_items[0][price_data][product_data][name]": "Board",
}


async def newest_event(sandbox: Sandbox) -> Any:
    return (await sandbox.client.v1.events.list_async({"limit": 1})).data[0]


async def test_an_event_says_what_happened_and_which_request_did_it(sandbox: Sandbox) -> None:
    session = await sandbox.create()
    expired = await sandbox.client.v1.checkout.sessions.expire_async(session.id, {}, {"idempotency_key": "one"})
    event = await sandbox.receiver.wait_for("checkout.session.expired")
    assert event.id.startswith("evt_")
    assert (event.object, event.api_version, event.livemode) == ("event", stripe.api_version, False)
    assert (event.request.id, event.request.idempotency_key) == (expired.last_response.headers["Request-Id"], "one")
    assert event.data.object["id"] == session.id


async def test_an_event_is_sent_again_until_it_is_taken(sandbox: Sandbox) -> None:
    sandbox.receiver.status = 503
    session = await sandbox.create()
    await sandbox.client.v1.checkout.sessions.expire_async(session.id)
    first = await sandbox.receiver.wait_for("checkout.session.expired", 2)
    assert (await newest_event(sandbox)).pending_webhooks == 1
    sandbox.receiver.status = 204
    again = await sandbox.receiver.wait_for("checkout.session.expired", 3)
    assert again.id == first.id
    assert str(again) == str(first)
    while (await newest_event(sandbox)).pending_webhooks:  # noqa: ASYNC110 - asked as a client
        await asyncio.sleep(0.01)
    assert (await newest_event(sandbox)).id == first.id


async def test_a_redirect_does_not_count_as_taken(sandbox: Sandbox) -> None:
    sandbox.receiver.status = 302
    session = await sandbox.create()
    await sandbox.client.v1.checkout.sessions.expire_async(session.id)
    await sandbox.receiver.wait_for("checkout.session.expired", 2)


@pytest.mark.long
async def test_a_killed_sandbox_remembers_everything(tmp_path: Path) -> None:
    headers = {"Authorization": "Bearer sk_test_1", "Idempotency-Key": "one"}
    with running_stack(tmp_path, None, "stripe-sandbox") as stack:
        async with aiohttp.ClientSession(stack.url("stripe-sandbox"), headers=headers) as http:
            created = await (await http.post("/v1/checkout/sessions", data=FORM)).json()
            await http.post(f"/pay/{created['id']}", data={"action": "pay"}, allow_redirects=False)
            events = await (await http.get("/v1/events")).json()
            assert len(events["data"]) == 4
            assert "no real money moves" in stack.log("stripe-sandbox")
            stack.kill("stripe-sandbox")
            stack.start("stripe-sandbox")
            assert await (await http.get("/v1/events")).json() == events
            again = await http.post("/v1/checkout/sessions", data=FORM)
            assert (again.headers["Idempotent-Replayed"], await again.json()) == ("true", created)
        assert stack.stop("stripe-sandbox") == 0


def test_in_production_it_does_not_start(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stripe_sandbox"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "ENVIRONMENT": "production", "STRIPE_WEBHOOK_SECRET": "whsec_" + "x" * 32},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "ENVIRONMENT" in done.stderr


def test_settings_name_the_receiver_of_the_webhooks() -> None:
    def settings(**given: Any) -> SandboxSettings:
        return SandboxSettings(_env_file=None, **given)

    first = settings(stripe_webhook_secret="whsec_new,whsec_old", checkout_url="http://a:1/,http://b:2")
    assert (first.webhook_url, first.webhook_secret) == ("http://a:1/api/checkout/webhook", "whsec_new")
    other = settings(stripe_webhook_secret="whsec_new", checkout_port=9003)
    assert other.webhook_url == "http://localhost:9003/api/checkout/webhook"
    with pytest.raises(ValidationError, match="STRIPE_WEBHOOK_SECRET is missing"):
        settings()
