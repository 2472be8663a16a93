"""What every operation of the sandbox stands on: its objects, its clock, its events, and how answers are paged and expanded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import cache
from typing import Any

from stripe import Charge, Dispute, Event, LineItem, PaymentIntent, Price, Product, Refund
from stripe.checkout import Session

from stripe_sandbox.errors import StripeError, no_such
from stripe_sandbox.objects import list_of, new_event
from stripe_sandbox.store import Condition, Object, Store

KINDS: dict[str, Any] = {
    kind.OBJECT_NAME: kind
    for kind in (Charge, Dispute, Event, LineItem, PaymentIntent, Price, Product, Refund, Session)
}
AUTOMATIC: Object = {"id": None, "idempotency_key": None}
MAX_EXPAND_DEPTH = 4
INCLUDED_LINE_ITEMS = 10
COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


class Ledger:
    """The account's objects; `now` returns Unix seconds; `scheduled` is set whenever an event waits for its delivery."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self.store = store
        self.now = now
        self.scheduled = asyncio.Event()

    def time(self) -> int:
        """Return the present as the API writes it."""
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
        """Expire the sessions whose time is up."""
        overdue = self.store.overdue_sessions(self.now())
        if overdue:
            with self.store.transaction():
                for session in overdue:
                    self.expire(session)

    def page(
        self,
        kind: str,
        params: dict[str, Any],
        url: str,
        conditions: list[Condition] | None = None,
        *,
        parent: str = "",
    ) -> Object:
        """Return one page of a list, newest first; the children of a parent in their own order."""
        limit = params.get("limit", 10)
        if not 1 <= limit <= 100:
            raise StripeError("Invalid limit: between 1 and 100.", param="limit", code="parameter_invalid_integer")
        after, before = params.get("starting_after"), params.get("ending_before")
        if after is not None and before is not None:
            raise StripeError("You may only specify one of these parameters: ending_before, starting_after.")
        for name, cursor in (("starting_after", after), ("ending_before", before)):
            if cursor is not None:
                self.require(kind, cursor, param=name, status=400)
        backwards = before is not None
        oldest_first = bool(parent) != backwards
        found = self.store.select(
            kind,
            [*(conditions or []), *_created(params.get("created"))],
            parent=parent,
            limit=limit + 1,
            after=(before or after) if oldest_first else None,
            before=None if oldest_first else (before or after),
            oldest_first=oldest_first,
        )
        data = found[:limit]
        return list_of(data[::-1] if backwards else data, url, has_more=len(found) > limit)

    def line_items(self, session_id: str, params: dict[str, Any]) -> Object:
        """Return one page of a session's line items."""
        return self.page("item", params, f"/v1/checkout/sessions/{session_id}/line_items", parent=session_id)

    def expand(self, thing: Object, paths: list[str]) -> Object:
        """Put whole objects in the place of ids, as `expand[]` asks; raise StripeError for what cannot be expanded."""
        for path in paths:
            names = path.split(".")
            if len(names) > MAX_EXPAND_DEPTH + (thing["object"] == "list"):
                raise StripeError(
                    f"You cannot expand more than {MAX_EXPAND_DEPTH} levels of a property.", param="expand"
                )
            self._expand(thing, names, path)
        return thing

    def _expand(self, thing: Object, names: list[str], path: str) -> None:
        name, *rest = names
        if thing["object"] == "list" and name == "data" and rest:
            for item in thing["data"]:
                self._expand(item, rest, path)
            return
        if name not in expandable(thing["object"]):
            raise StripeError(f"This property cannot be expanded ({path}).", param="expand")
        if name == "line_items":
            thing[name] = self.line_items(thing["id"], {"limit": INCLUDED_LINE_ITEMS})
        elif name == "refunds":
            condition = Condition("$.charge", "=", thing["id"])
            thing[name] = self.page("refund", {}, f"/v1/charges/{thing['id']}/refunds", [condition])
        elif isinstance(thing[name], str):
            thing[name] = self.store.get(thing[name]) or thing[name]
        if rest and isinstance(thing[name], dict):
            self._expand(thing[name], rest, path)


@cache
def expandable(kind: str) -> frozenset[str]:
    """Return the members of an object that may be expanded: those that the SDK's types let be another object."""
    annotations = KINDS[kind].__annotations__ if kind in KINDS else {}
    return frozenset(name for name, hint in annotations.items() if "ForwardRef" in repr(hint))


def _created(asked: Any) -> list[Condition]:
    if asked is None:
        return []
    if isinstance(asked, int):
        return [Condition("$.created", "=", asked)]
    return [Condition("$.created", COMPARISONS[name], bound) for name, bound in asked.items()]


def event_conditions(params: dict[str, Any]) -> list[Condition]:
    """Return what a list of events is filtered by."""
    conditions = []
    if "type" in params and "types" in params:
        raise StripeError("You may only specify one of these parameters: type, types.")
    if "type" in params:
        conditions.append(Condition("$.type", "GLOB", params["type"].replace("[", "[[]").replace("?", "[?]")))
    if "types" in params:
        conditions.append(Condition("$.type", "IN", json.dumps(params["types"])))
    if "delivery_success" in params:
        conditions.append(Condition("$.pending_webhooks", "=" if params["delivery_success"] else ">", 0))
    return conditions
