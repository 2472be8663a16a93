"""The account's books: its objects, its clock, its events, and lists of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from stripe_sandbox.errors import StripeError, no_such
from stripe_sandbox.objects import list_of, new_event
from stripe_sandbox.store import Object, Store

AUTOMATIC: Object = {"id": None, "idempotency_key": None}


class Ledger:
    """The account's objects; `now` returns Unix seconds; `scheduled` is set whenever an event waits for its delivery."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self.store = store
        self.now = now
        self.scheduled = asyncio.Event()

    def time(self) -> int:
        return int(self.now())

    def require(self, kind: str, identifier: str, *, param: str = "id", status: int = 404) -> Object:
        """Return the object, or raise StripeError `resource_missing`."""
        thing = self.store.get(identifier, kind)
        if thing is None:
            raise no_such(kind, identifier, param=param, status=status)
        return thing

    def emit(self, kind: str, thing: Object, cause: Object = AUTOMATIC) -> None:
        """Record what happened to `thing`, and have it delivered; `cause` is the request that did it."""
        event = self.store.put(new_event(kind, thing, self.time(), cause))
        self.store.schedule(event["id"], 0, self.now())
        self.scheduled.set()

    def expire(self, session: Object, cause: Object = AUTOMATIC) -> Object:
        """Close an open session that was not paid, and cancel what was tried with it."""
        if session["payment_intent"]:
            intent = self.require("payment_intent", session["payment_intent"])
            intent |= {"status": "canceled", "canceled_at": self.time(), "cancellation_reason": "expired"}
            self.emit("payment_intent.canceled", self.store.put(intent), cause)
        session |= {"status": "expired", "url": None}
        self.emit("checkout.session.expired", self.store.put(session), cause)
        return session

    def expire_overdue(self) -> None:
        overdue = self.store.overdue_sessions(self.now())
        if overdue:
            with self.store.transaction():
                for session in overdue:
                    self.expire(session)

    def page(self, kind: str, params: dict[str, Any], url: str) -> Object:
        """Return one page of a list, newest first; `params` as Stripe has them, `created` as a lower bound alone."""
        limit, after, created = limit_of(params), params.get("starting_after"), params.get("created", {})
        if not isinstance(created, dict) or created.keys() - {"gte"}:
            raise StripeError("The Stripe sandbox plays `created[gte]` alone.", param="created")
        if after is not None:
            self.require(kind, after, param="starting_after", status=400)
        found = self.store.select(
            kind,
            limit=limit + 1,
            after=after,
            payment_intent=params.get("payment_intent"),
            created_since=created.get("gte", 0),
            event_type=params.get("type"),
        )
        return list_of(found[:limit], url, has_more=len(found) > limit)


def limit_of(params: dict[str, Any]) -> int:
    """Return how many a page may hold; raise StripeError for what Stripe does not take."""
    limit: int = params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise StripeError("Invalid limit: between 1 and 100.", param="limit", code="parameter_invalid_integer")
    return limit
