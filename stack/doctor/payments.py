"""Stripe: its key, its clock, and the endpoint that its webhooks go to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import stripe

from services.checkout.service.webhooks import SESSION_EVENTS
from services.checkout.settings import STRIPE_API, CheckoutSettings
from stack.checks import is_sandbox
from stack.doctor.findings import Finding, right, shown, unknown, wrong
from stack.doctor.machine import compare_clocks
from stack.doctor.services import name_at, open_client

WEBHOOK_PATH = "/api/checkout/webhook"
# What is paid back or disputed on Stripe's own pages is known to Keepsake by these alone.
OTHER_EVENTS = frozenset(
    {"charge.refunded", "refund.updated", "refund.failed", "charge.dispute.created", "charge.dispute.closed"}
)
DASHBOARD = "Stripe's dashboard, Developers, Webhooks"


async def check_stripe(settings: CheckoutSettings, api: str = STRIPE_API) -> AsyncIterator[Finding]:
    """Ask Stripe for the account's webhook endpoints, which shows the key and the clock as well."""
    if settings.stripe_api_base != api:
        yield await _elsewhere(settings)
        return
    async with aiohttp.ClientSession(base_url=api) as http:
        headers = {"Authorization": f"Bearer {settings.stripe_secret_key}", "Stripe-Version": stripe.api_version}
        async with http.get("/v1/webhook_endpoints", params={"limit": "100"}, headers=headers) as answer:
            yield _key(settings, answer)
            yield compare_clocks("Stripe", answer.headers["Date"], "webhooks")
            if answer.ok:
                yield _endpoint(settings, (await answer.json())["data"])


async def _elsewhere(settings: CheckoutSettings) -> Finding:
    what, url = "stripe", shown(settings.stripe_api_base)
    if _is_live(settings):
        return wrong(what, f"a live key goes to {url}, which is not Stripe.", "unset STRIPE_API_BASE.")
    async with open_client() as http:
        name = await name_at(http, settings.stripe_api_base)
    if name == "stripe-sandbox":
        return right(what, "payments go to the sandbox: no real money moves.")
    if name is None and is_sandbox(settings):
        return unknown(what, "the sandbox does not run: ask again when it does.")
    says = f"nothing answers at {url}." if name is None else f"what answers at {url} is neither Stripe nor its sandbox."
    return wrong(what, says, "unset STRIPE_API_BASE, or set it to where the sandbox listens.")


def _is_live(settings: CheckoutSettings) -> bool:
    return settings.stripe_secret_key.startswith(("sk_live_", "rk_live_"))


def _key(settings: CheckoutSettings, answer: aiohttp.ClientResponse) -> Finding:
    what = "stripe key"
    if answer.status == 400:
        return wrong(
            what, f"Stripe does not know API version {stripe.api_version}.", "install the locked requirements."
        )
    if answer.status == 403:
        mend = "give the restricted key leave to read webhook endpoints, or see to them yourself."
        return wrong(what, "Stripe takes it, but it may not read the webhook endpoints.", mend)
    if not answer.ok:
        return wrong(what, f"Stripe refuses STRIPE_SECRET_KEY ({answer.status}).", "copy the key anew from Stripe.")
    live = _is_live(settings)
    if live != settings.stripe_publishable_key.startswith("pk_live_"):
        return wrong(what, "of STRIPE_SECRET_KEY and STRIPE_PUBLISHABLE_KEY one is live and one is not.", "use a pair.")
    if settings.environment == "production" and not live:
        return wrong(what, "it is a test key: no real money moves.", "set the live keys.")
    return right(what, f"Stripe takes it, with API version {stripe.api_version}.")


def _endpoint(settings: CheckoutSettings, endpoints: list[Mapping[str, Any]]) -> Finding:
    what, url = "stripe webhooks", settings.public_url + WEBHOOK_PATH
    ours = [endpoint for endpoint in endpoints if endpoint["url"].rstrip("/") == url]
    if not ours:
        return wrong(what, "Stripe has no endpoint for this site.", f"add {shown(url)} in {DASHBOARD}.")
    enabled = [endpoint for endpoint in ours if endpoint["status"] == "enabled"]
    if not enabled:
        return wrong(what, "Stripe has switched the endpoint off.", f"switch it on in {DASHBOARD}, and look why.")
    sent = {event for endpoint in enabled for event in endpoint["enabled_events"]}
    missing = sorted((SESSION_EVENTS | OTHER_EVENTS) - sent) if "*" not in sent else []
    if missing:
        return wrong(what, f"the endpoint is not sent {', '.join(missing)}.", f"add them in {DASHBOARD}.")
    return right(what, "the endpoint is on, and is sent every event that is needed.")
