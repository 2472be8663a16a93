"""What planter-orders reads from queries, forms and bodies."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from services.planter_orders.model.deliveries import DeliveryState
from services.planter_orders.model.orders import OrderFilter, Status
from services.planter_orders.model.photos import RequestReason
from shared.http.validation import MaxChars, PlainText, QueryModel, WireModel

RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _moment(value: object) -> datetime:
    """Read RFC 3339; a `+` that was not encoded arrives as a space."""
    text = value.replace(" ", "+") if isinstance(value, str) and "T" in value.upper() else str(value)
    if RFC3339.fullmatch(text) is None:
        raise ValueError("must be a time as RFC 3339 has it, such as 2026-01-31T12:00:00Z")
    try:
        moment = datetime.fromisoformat(text.upper())
        moment.timestamp()
    except (ValueError, OverflowError):
        raise ValueError("is no time that exists") from None
    return moment


def _year(moment: datetime) -> datetime:
    # The zone is taken away before comparing: at the ends of the calendar that would leave it.
    if not 1970 <= moment.year <= 9998:
        raise ValueError("must lie between 1970 and 9998")
    return moment


Moment = Annotated[datetime, BeforeValidator(_moment), AfterValidator(_year)]
StatusName = Annotated[Status, Field(strict=False)]
Limit = Annotated[int, Field(ge=1, le=100)]
Note = Annotated[PlainText, MaxChars(500)]
PetName = Annotated[PlainText, MaxChars(100)]


class PetFields(QueryModel):
    """The text fields of an upload."""

    pet_name: PetName | None = None
    pet_type: Annotated[PlainText, MaxChars(50)] | None = None
    notes: Annotated[PlainText, MaxChars(2000)] | None = None


class OrdersQuery(QueryModel):
    """Which of the caller's own orders; all without `limit`."""

    status: Status | None = None
    limit: Limit | None = None
    cursor: PlainText | None = None


class AllOrdersQuery(OrdersQuery):
    """Which of all orders; both ends of the time belong to it, `pet_name` is a part of it in any case."""

    user_id: PlainText | None = None
    since: Moment | None = None
    until: Moment | None = None
    pet_name: PetName | None = None
    photo_requests: Literal["open"] | None = None
    quality: Literal["warned"] | None = None

    def wanted(self) -> OrderFilter:
        return OrderFilter(
            **self.model_dump(include={"user_id", "status", "since", "until", "pet_name"}),
            has_open_request=self.photo_requests is not None,
            is_warned=self.quality is not None,
        )


class DeliveriesQuery(QueryModel):
    """Which of the outgoing webhooks."""

    state: DeliveryState | None = None
    limit: Limit = 50
    cursor: Annotated[str, Field(pattern=r"^[0-9]{1,18}$")] | None = None


class FileQuery(QueryModel):
    """The photo, or its thumbnail."""

    size: Literal["thumb"] | None = None


class StatusChange(WireModel):
    """What an admin makes of an order."""

    status: StatusName
    note: Note | None = None


class ServiceStatusChange(StatusChange):
    """What another service makes of an order; telling the same event again changes nothing."""

    event_id: Annotated[PlainText, Field(min_length=1, max_length=255)]


class PhotoRequestBody(WireModel):
    """What an admin asks of the customer."""

    filename: Annotated[PlainText, Field(max_length=100)]
    reason: Annotated[RequestReason, Field(strict=False)]
    note: Note | None = None
