"""A photo of an order, where its objects lie (on disk and in a bucket alike), and what is said about it."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.errors import NotFound
from shared.images.photo_quality import PhotoFacts
from shared.images.validation import CONVERTED

PHOTOS = "uploads/pet_images"
# Beside the photos' tree and not in it: an order's folder has what the customer sent, and its description.
THUMBNAILS = "uploads/pet_thumbnails"
METADATA = "order_metadata.json"
NOBODY = ""  # whose an order is when its person was erased; no token's `sub` is empty
LONGEST_FOLDER = 200
UNSAFE = re.compile(rb"[^A-Za-z0-9._-]")


def user_folder(user_id: str) -> str:
    """Write a user's id as a folder's name: other bytes as `~XX`, or its digest where that is over 200 bytes."""
    if user_id == NOBODY:
        return "~erased"  # no escaped byte, so nobody's folder
    data = user_id.encode()
    name = UNSAFE.sub(lambda found: b"~%02X" % found[0][0], data).decode()
    return name if len(name) <= LONGEST_FOLDER else f"sha256-{hashlib.sha256(data).hexdigest()}"


def folders_of(user_id: str, order_id: str) -> tuple[str, str]:
    """Return the prefixes of all that an order has: its photos, and their thumbnails."""
    place = f"{user_folder(user_id)}/{order_id}/"
    return f"{PHOTOS}/{place}", f"{THUMBNAILS}/{place}"


def photo_key(user_id: str, order_id: str, filename: str) -> str:
    return folders_of(user_id, order_id)[0] + filename


def thumbnail_key(user_id: str, order_id: str, filename: str) -> str:
    return f"{folders_of(user_id, order_id)[1]}{filename}.webp"


def metadata_key(user_id: str, order_id: str) -> str:
    return folders_of(user_id, order_id)[0] + METADATA


def new_filename(at: datetime, extension: str, taken: Collection[str]) -> str:
    """Name a photo that arrived `at` (UTC), as none of `taken` is named."""
    while True:
        name = f"{at:%Y%m%d_%H%M%S}_{secrets.token_hex(3)}.{extension}"
        if name not in taken:
            return name


class PhotoNotFound(NotFound):
    """The order has no photo of this name."""

    def __init__(self) -> None:
        super().__init__("Photo not found", "photo_not_found")


class RequestNotFound(NotFound):
    """Nobody asks for another photo in the place of this one."""

    def __init__(self) -> None:
        super().__init__("There is no request for this photo.", "request_not_found")


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
