"""The API itself: authentication, versions, idempotency keys, and the table of what may be called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import stripe
from aiohttp import web
from stripe.params import (
    DisputeRetrieveParams,
    EventListParams,
    PaymentIntentRetrieveParams,
    RefundCreateParams,
    RefundListParams,
)
from stripe.params.checkout import (
    SessionCreateParams,
    SessionExpireParams,
    SessionListLineItemsParams,
    SessionListParams,
    SessionRetrieveParams,
)

from shared.http.body import BODY, read_bytes
from stripe_sandbox.errors import StripeError
from stripe_sandbox.form import parse_form, parse_pairs
from stripe_sandbox.ledger import Ledger, limit_of
from stripe_sandbox.objects import list_of
from stripe_sandbox.parameters import read_params
from stripe_sandbox.payments import refund
from stripe_sandbox.sessions import contents_of, create_session, expire_session, require_played
from stripe_sandbox.store import Answer, Object

MAX_BODY_BYTES = 512 * 1024
FORM = "application/x-www-form-urlencoded"
KEY_LIFE_S = 24 * 3600
MAX_KEY = 255

LEDGER = web.AppKey("LEDGER", Ledger)
REQUEST_ID = web.RequestKey("REQUEST_ID", str)
Interrupt = Callable[[web.Request], Awaitable[web.Response | None]]


@dataclass(frozen=True, slots=True)
class Call:
    """One call that may be executed: checked parameters, the id in the path, and the request that causes its events."""

    ledger: Ledger
    params: dict[str, Any]
    id: str
    cause: Object
    base_url: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the table; `params` is the SDK's type of what it takes."""

    method: str
    path: str
    params: type
    execute: Callable[[Call], Object]


def _list(kind: str, path: str, *filters: str) -> Callable[[Call], Object]:
    played = frozenset({"limit", "starting_after", *filters})

    def execute(call: Call) -> Object:
        require_played(call.params, played)
        return call.ledger.page(kind, call.params, path)

    return execute


def _get(kind: str, param: str = "id") -> Callable[[Call], Object]:
    def execute(call: Call) -> Object:
        require_played(call.params, frozenset())
        return call.ledger.require(kind, call.id, param=param)

    return execute


def _session(call: Call) -> Object:
    """Return a session; with `expand[]=payment_intent`, which alone is played, the intent stands in place of its id."""
    require_played(call.params, frozenset({"expand"}))
    session = call.ledger.require("checkout.session", call.id, param="session")
    if call.params.get("expand", ["payment_intent"]) != ["payment_intent"]:
        raise StripeError("The Stripe sandbox expands `payment_intent` alone.", param="expand")
    if "expand" in call.params and session["payment_intent"]:
        session["payment_intent"] = call.ledger.require("payment_intent", session["payment_intent"])
    return session


def _line_items(call: Call) -> Object:
    require_played(call.params, frozenset({"limit"}))
    lines, limit = contents_of(call.ledger, call.id)["lines"], limit_of(call.params)
    return list_of(lines[:limit], f"{SESSIONS}/{call.id}/line_items", has_more=len(lines) > limit)


SESSIONS = "/v1/checkout/sessions"
OPERATIONS = (
    Operation(
        "POST", SESSIONS, SessionCreateParams, lambda call: create_session(call.ledger, call.params, call.base_url)
    ),
    Operation("GET", SESSIONS, SessionListParams, _list("checkout.session", SESSIONS, "created", "payment_intent")),
    Operation("GET", f"{SESSIONS}/{{id}}", SessionRetrieveParams, _session),
    Operation(
        "POST",
        f"{SESSIONS}/{{id}}/expire",
        SessionExpireParams,
        lambda call: expire_session(call.ledger, call.id, call.cause),
    ),
    Operation("GET", f"{SESSIONS}/{{id}}/line_items", SessionListLineItemsParams, _line_items),
    Operation("GET", "/v1/payment_intents/{id}", PaymentIntentRetrieveParams, _get("payment_intent", "intent")),
    Operation("GET", "/v1/disputes/{id}", DisputeRetrieveParams, _get("dispute")),
    Operation("POST", "/v1/refunds", RefundCreateParams, lambda call: refund(call.ledger, call.params, call.cause)),
    Operation("GET", "/v1/refunds", RefundListParams, _list("refund", "/v1/refunds", "payment_intent")),
    Operation("GET", "/v1/events", EventListParams, _list("event", "/v1/events", "created", "type")),
)


def require_caller(request: web.Request) -> None:
    """Refuse a request without a test key, and one in an API version that is not the installed SDK's."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not given.strip():
        raise StripeError("You did not provide an API key. Send it as a bearer token: `Bearer sk_test_…`.", status=401)
    if given.startswith("sk_live_"):
        raise StripeError("The Stripe sandbox takes no live keys: this one may be compromised now.", status=401)
    if not given.strip().startswith("sk_test_"):
        raise StripeError("Invalid API Key provided.", status=401)
    version = request.headers.get("Stripe-Version", stripe.api_version)
    if version != stripe.api_version:
        raise StripeError(f"Invalid Stripe API version: the sandbox speaks {stripe.api_version}.")


def render(answer: Answer, **headers: str) -> web.Response:
    return web.Response(
        status=answer.status,
        text=answer.body,
        content_type="application/json",
        headers={
            "Cache-Control": "no-cache, no-store",
            "Request-Id": answer.request_id,
            "Stripe-Version": stripe.api_version,
            **headers,
        },
    )


def render_error(error: StripeError, request_id: str) -> web.Response:
    return render(Answer("", error.status, json.dumps(error.body, indent=2), request_id))


class Api:
    """Runs operations, each once per idempotency key; `interrupt` may answer in an operation's place (for tests)."""

    def __init__(self, interrupt: Interrupt | None) -> None:
        self._interrupt = interrupt
        self._under_way: set[str] = set()

    def routes(self) -> list[web.RouteDef]:
        return [web.route(row.method, row.path, self._handler(row), name=None) for row in OPERATIONS]

    def _handler(self, operation: Operation) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            require_caller(request)
            posted = request.method == "POST"
            if posted and request[BODY].length != 0 and request.content_type != FORM:
                raise StripeError(f"Invalid request (check that your POST content type is {FORM}).")
            encoded = (
                await read_bytes(request, max_bytes=MAX_BODY_BYTES)
                if posted
                else request.rel_url.raw_query_string.encode()
            )
            params = read_params(operation.params, parse_form(encoded))
            key = request.headers.get("Idempotency-Key") if posted else None
            if key and len(key) > MAX_KEY:
                raise StripeError(f"Idempotency keys can have up to {MAX_KEY} characters.")
            cause = {"id": request[REQUEST_ID], "idempotency_key": key or None}
            base_url = f"{request.scheme}://{request.host}"
            call = Call(request.app[LEDGER], params, request.match_info.get("id", ""), cause, base_url)
            call.ledger.expire_overdue()
            if not key:
                return render(await self._answer(request, operation, call, "", ""))
            said = json.dumps(sorted(parse_pairs(encoded)))
            fingerprint = f"{request.path} {hashlib.sha256(said.encode()).hexdigest()}"
            return await self._once(request, operation, call, key, fingerprint)

        return handle

    async def _once(
        self, request: web.Request, operation: Operation, call: Call, key: str, fingerprint: str
    ) -> web.Response:
        headers = {"Idempotency-Key": key}
        if key in self._under_way:
            message = (
                "There is currently another in-progress request using this Idempotent Key. Please try again later."
            )
            raise StripeError(message, status=409, code="idempotency_key_in_use", kind="idempotency_error")
        remembered = call.ledger.store.remembered(key, call.ledger.now() - KEY_LIFE_S)
        if remembered is not None:
            if remembered.operation != fingerprint:
                message = (
                    "Keys for idempotent requests can only be used with the same parameters and the same endpoint"
                    " they were first used with."
                )
                raise StripeError(message, kind="idempotency_error")
            original = {"Idempotent-Replayed": "true", "Original-Request": remembered.request_id}
            return render(remembered, **headers, **original)
        self._under_way.add(key)
        try:
            return render(await self._answer(request, operation, call, key, fingerprint), **headers)
        finally:
            self._under_way.discard(key)

    async def _answer(
        self, request: web.Request, operation: Operation, call: Call, key: str, fingerprint: str
    ) -> Answer:
        """Execute; the change and what its key remembers of it are kept together or not at all."""
        store = call.ledger.store

        def remembering(status: int, body: str) -> Answer:
            answer = Answer(fingerprint, status, body, request[REQUEST_ID])
            if key:
                store.remember(key, answer, call.ledger.now())
            return answer

        interrupted = await self._interrupt(request) if self._interrupt else None
        if interrupted is not None:
            return remembering(interrupted.status, interrupted.text or "")
        try:
            with store.transaction():
                return remembering(200, json.dumps(operation.execute(call), indent=2))
        except StripeError as error:
            if not error.executed:
                raise
            return remembering(error.status, json.dumps(error.body, indent=2))
