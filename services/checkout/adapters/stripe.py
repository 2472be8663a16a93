"""Stripe over its own SDK, within eight seconds whatever happens, and the signatures of its webhooks."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import aiohttp
import stripe

from services.checkout.model.payments import (
    Dispute,
    ProviderRefund,
    ProviderSession,
    Refund,
    WebhookEvent,
)
from services.checkout.model.refusals import PaymentProviderRefused, PaymentProviderUnavailable
from services.checkout.model.sessions import CheckoutSession
from services.checkout.settings import CheckoutSettings
from shared.tracing import traced

BUDGET_S = 8.0
MAX_RETRIES = 2
CONNECT_TIMEOUT_S = 2.0
TOLERANCE_S = 300
SESSION_PAGE = 100
MAX_METADATA = 500  # characters of a value
REASONS = frozenset({"duplicate", "fraudulent", "requested_by_customer"})
ROW_MARK, SITE_MARK, REFUND_MARK = "keepsake_row", "keepsake_site", "keepsake_refund"
SIGNED_AT = re.compile(r"(?:^|,)t=([^,]*)")


class ResourceMissing(PaymentProviderRefused):
    """There is nothing with the id in our account."""


def _translate(error: stripe.StripeError) -> PaymentProviderUnavailable | PaymentProviderRefused:
    """Tell what a retry may mend from what it may not."""
    status = error.http_status or 503
    headers: Mapping[str, str] = error.headers or {}
    replayed = any(name.lower() == "idempotent-replayed" and value == "true" for name, value in headers.items())
    if isinstance(error, stripe.IdempotencyError) and status != 409:
        return PaymentProviderUnavailable(replayed=True)  # the key was used for other parameters: take the next
    if status >= 500 or status in {409, 429}:
        return PaymentProviderUnavailable(replayed=replayed and status != 409)
    refused = ResourceMissing if error.code == "resource_missing" else PaymentProviderRefused
    return refused(error.code or type(error).__name__)


def _mark(metadata: Any, name: str) -> str | None:
    value = (metadata or {}).get(name)
    return value if isinstance(value, str) else None


def _session(found: Mapping[str, Any]) -> ProviderSession:
    intent = found.get("payment_intent")
    intent_id = intent["id"] if isinstance(intent, Mapping) else intent
    failed = isinstance(intent, Mapping) and intent["status"] in {"requires_payment_method", "canceled"}
    return ProviderSession(
        id=found["id"],
        status=found["status"],
        payment_status=found["payment_status"],
        amount_total=found["amount_total"],
        currency=found["currency"],
        expires_at=datetime.fromtimestamp(found["expires_at"], UTC),
        payment_intent=intent_id,
        payment_failed=failed,
        row_id=_mark(found.get("metadata"), ROW_MARK),
        site=_mark(found.get("metadata"), SITE_MARK),
        client_secret=found.get("client_secret"),
    )


def _refund(found: Mapping[str, Any]) -> ProviderRefund:
    return ProviderRefund(
        id=found["id"],
        our_id=_mark(found.get("metadata"), REFUND_MARK),
        amount=found["amount"],
        currency=found["currency"],
        status=found["status"] or "pending",
    )


class StripePayments:
    """Stripe. Raises PaymentProviderUnavailable or PaymentProviderRefused; amounts are minor units."""

    def __init__(self, client: stripe.StripeClient, *, return_url: str, site: str) -> None:
        self._client = client
        self._return_url = return_url
        self._site = site

    @traced("stripe", "create")
    async def create(self, row: CheckoutSession) -> ProviderSession:
        """Create the session of a row; the same row and attempt give the same session, however often."""
        metadata = {ROW_MARK: row.id, SITE_MARK: self._site}
        if row.image_id is not None:
            metadata["imageId"] = row.image_id
        if row.order_id is not None:
            metadata["order_id"] = row.order_id
        product = {"name": row.name} | ({"description": row.description} if row.description else {})
        price = {"currency": row.currency, "unit_amount": row.unit_amount, "product_data": product}
        params: Any = {
            "ui_mode": "embedded_page",
            "mode": "payment",
            "line_items": [{"price_data": price, "quantity": row.quantity}],
            "return_url": self._return_url,
            "client_reference_id": row.id,
            "metadata": metadata,
            "payment_intent_data": {"metadata": metadata},
            "expires_at": int(row.expires_at.timestamp()),
        }
        key = f"keepsake-session-{row.id}-{row.attempt}"
        return _session(
            await self._ask(self._client.v1.checkout.sessions.create_async(params, {"idempotency_key": key}))
        )

    @traced("stripe", "retrieve")
    async def retrieve(self, session_id: str) -> ProviderSession | None:
        """Return the session as it is now; None where this account has none with the id."""
        sessions = self._client.v1.checkout.sessions
        with suppress(ResourceMissing):
            return _session(await self._ask(sessions.retrieve_async(session_id, {"expand": ["payment_intent"]})))
        return None

    @traced("stripe", "expire")
    async def expire(self, session_id: str) -> None:
        """Expire the session, if it is open still."""
        with suppress(PaymentProviderRefused):
            await self._ask(self._client.v1.checkout.sessions.expire_async(session_id))

    async def sessions_since(self, since: datetime) -> AsyncIterator[ProviderSession]:
        """Iterate over this account's sessions that were made since then."""
        params: Any = {"created": {"gte": int(since.timestamp())}, "limit": SESSION_PAGE}
        while True:
            page = await self._ask(self._client.v1.checkout.sessions.list_async(params))
            for found in page["data"]:
                yield _session(found)
            if not page["has_more"]:
                return
            params["starting_after"] = page["data"][-1]["id"]

    @traced("stripe", "marks of")
    async def marks_of(self, payment_intent: str) -> tuple[str | None, str | None]:
        """Return the row id and the site that a payment intent is marked with."""
        with suppress(ResourceMissing):
            found = await self._ask(self._client.v1.payment_intents.retrieve_async(payment_intent))
            return _mark(found.get("metadata"), ROW_MARK), _mark(found.get("metadata"), SITE_MARK)
        return None, None

    @traced("stripe", "refund")
    async def refund(self, row: CheckoutSession, refund: Refund) -> ProviderRefund:
        """Give money back; the same refund and attempt give the same refund, however often."""
        metadata = {REFUND_MARK: refund.id, ROW_MARK: row.id}
        params: Any = {"payment_intent": row.payment_intent, "amount": refund.amount, "metadata": metadata}
        if refund.reason in REASONS:
            params["reason"] = refund.reason
        elif refund.reason:
            metadata["reason"] = refund.reason[:MAX_METADATA]  # ours counts a line break as one character
        key = f"keepsake-refund-{refund.id}-{refund.attempt}"
        return _refund(await self._ask(self._client.v1.refunds.create_async(params, {"idempotency_key": key})))

    @traced("stripe", "refunds of")
    async def refunds_of(self, payment_intent: str) -> Sequence[ProviderRefund]:
        params: Any = {"payment_intent": payment_intent, "limit": SESSION_PAGE}
        page = await self._ask(self._client.v1.refunds.list_async(params))
        return [_refund(found) for found in page["data"]]

    @traced("stripe", "dispute")
    async def dispute(self, dispute_id: str) -> Dispute | None:
        with suppress(ResourceMissing):
            found = await self._ask(self._client.v1.disputes.retrieve_async(dispute_id))
            return Dispute(**{field.name: found[field.name] for field in fields(Dispute)})
        return None

    @staticmethod
    async def _ask(call: Awaitable[Any]) -> Mapping[str, Any]:
        """Run one call of the SDK with all its retries within the budget; anything that is no answer is `unavailable`."""
        try:
            async with asyncio.timeout(BUDGET_S):
                answer = await call
            found: Mapping[str, Any] = answer.to_dict()
        except stripe.StripeError as error:
            raise _translate(error) from error
        except (TimeoutError, OSError, aiohttp.ClientError, ValueError, LookupError, AttributeError) as error:
            raise PaymentProviderUnavailable from error
        return found


@asynccontextmanager
async def open_payments(settings: CheckoutSettings) -> AsyncIterator[StripePayments]:
    stripe.enable_telemetry = False
    timeout = aiohttp.ClientTimeout(total=BUDGET_S, sock_connect=CONNECT_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
        client = stripe.StripeClient(
            settings.stripe_secret_key,
            base_addresses={"api": settings.stripe_api_base},
            max_network_retries=MAX_RETRIES,
            http_client=stripe.AIOHTTPClient(timeout=timeout, session=session),
        )
        return_url = f"{settings.frontend_url}/hero-me?session_id={{CHECKOUT_SESSION_ID}}"
        yield StripePayments(client, return_url=return_url, site=settings.public_url)


def is_signed(payload: bytes, signature: str, secrets: Sequence[str]) -> bool:
    """Tell whether one of the secrets signed the payload within five minutes of now, either way."""
    for secret in secrets:
        with suppress(stripe.SignatureVerificationError, ValueError, TypeError):
            stripe.WebhookSignature.verify_header(payload, signature, secret, TOLERANCE_S)
            # The SDK takes events dated in the future: anybody who has one signature could keep it for later.
            signed_at = SIGNED_AT.search(signature)
            return signed_at is not None and int(signed_at[1]) <= time.time() + TOLERANCE_S
    return False


def parse_event(payload: bytes) -> WebhookEvent | None:
    """Read a signed event; None for one of another shape, such as a thin event, which is not about a session of ours."""
    try:
        event = json.loads(payload)
        thing = event["data"]["object"]
        metadata = thing.get("metadata") or {}
        found = WebhookEvent(
            id=event["id"],
            type=event["type"],
            object_id=thing.get("id") or "",
            payment_intent=thing.get("payment_intent"),
            row_id=_mark(metadata, ROW_MARK),
            site=_mark(metadata, SITE_MARK),
            account=event.get("account"),
        )
        texts = "".join((found.id, found.type, found.object_id, found.payment_intent or ""))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return found if found.id and texts.isprintable() else None
