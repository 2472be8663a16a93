"""A photo of an order, what is said about it, and when another one may take its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.planter_orders.model.status import Status
from shared.errors import Conflict, NotFound
from shared.images.photo_quality import PhotoFacts
from shared.images.sniff import CONVERTED

NOT_PAID = frozenset({Status.PENDING, Status.AWAITING_PAYMENT})
NOT_SHIPPED = NOT_PAID | {Status.PAID, Status.IN_PRODUCTION}


class PhotoNotFound(NotFound):
    """The order has no photo of this name."""

    def __init__(self) -> None:
        super().__init__("Photo not found", "photo_not_found")


class RequestNotFound(NotFound):
    """Nobody asks for another photo in the place of this one."""

    def __init__(self) -> None:
        super().__init__("There is no request for this photo.", "request_not_found")


class PhotoFixed(Conflict):
    """The photo stays as it is."""

    def __init__(self, status: Status) -> None:
        super().__init__(
            f"The order is {status}: this photo cannot be changed any more."
            if status not in NOT_SHIPPED
            else f"The order is {status}: this photo can be changed once the shop asks for another one.",
            "photo_fixed",
        )


class RequestReason(StrEnum):
    """Why the shop asks for another photo."""

    SMALL = "small"
    BLURRED = "blurred"
    DUPLICATE = "duplicate"
    CROPPED = "cropped"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class PhotoRequest:
    """The shop asks the customer for a better photo."""

    reason: RequestReason
    note: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Quality:
    """What is said about a photo: words such as `small`, `blurred`, `near_duplicate`."""

    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo as it is kept: size in bytes, sides in pixels as displayed; `quality` is None until it is known.

    `replaces` is the file name of the photo whose place it took, `placeholder` its ThumbHash in base64.
    """

    filename: str
    original_filename: str
    content_type: str
    size: int
    width: int
    height: int
    sha256: str
    quality: Quality | None = None
    replaces: str | None = None
    request: PhotoRequest | None = None
    placeholder: str | None = None

    @property
    def converted_from(self) -> str | None:
        """The format of a photo that not every browser shows: what is shown of it is made of it."""
        known = next((known for known in CONVERTED if known.content_type == self.content_type), None)
        return known.extension if known else None


def photo_named(photos: Sequence[Photo], filename: str) -> Photo:
    """Return the photo of this name. Raises PhotoNotFound."""
    for photo in photos:
        if photo.filename == filename:
            return photo
    raise PhotoNotFound


def require_replaceable(status: Status, *, is_requested: bool) -> None:
    """Raise PhotoFixed unless the customer may send another photo: before paying, or when asked for one until it ships."""
    if status not in (NOT_SHIPPED if is_requested else NOT_PAID):
        raise PhotoFixed(status)


def require_requestable(status: Status) -> None:
    """Raise PhotoFixed unless another photo would still be of use."""
    if status not in NOT_SHIPPED:
        raise PhotoFixed(status)


def judge(photos: Sequence[PhotoFacts | None]) -> list[Quality]:
    """Judge photos side by side; one that could not be measured (None) is `unreadable`."""
    return [_judge(place, photos) for place in range(len(photos))]


def _judge(place: int, photos: Sequence[PhotoFacts | None]) -> Quality:
    photo = photos[place]
    if photo is None:
        return Quality(("unreadable",))
    others = [other for at, other in enumerate(photos) if at != place and other is not None]
    found = {
        "small": photo.is_small,
        "blurred": photo.is_blurred,
        "near_duplicate": any(photo.fingerprint.is_near(other.fingerprint) for other in others),
    }
    return Quality(tuple(word for word, holds in found.items() if holds))
